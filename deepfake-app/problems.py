"""What the server says when it cannot do what it was asked: one table, answered as RFC 9457 asks."""

import json

MEDIA_TYPE = "application/problem+json"

PROBLEMS = {  # slug: (status, title)
    "bad-request": (400, "Not a valid HTTP request"),
    "bad-host": (400, "Unknown host name"),
    "bad-parameter": (400, "Bad parameter"),
    "missing-file": (400, "No image in the request"),
    "too-many-files": (400, "More than one image"),
    "empty-file": (400, "Empty file"),
    "cross-site": (403, "Request from another site"),
    "not-found": (404, "Not found"),
    "unknown-model": (404, "Unknown model"),
    "method-not-allowed": (405, "Method not allowed"),
    "too-large": (413, "Too large"),
    "form-too-large": (413, "Form too large"),
    "unsupported-media-type": (415, "Not an upload"),
    "unsupported-type": (415, "Not a supported image"),
    "damaged-image": (422, "Damaged image"),
    "too-many-pixels": (422, "Too many pixels"),
    "too-small": (422, "Image too small"),
    "bad-aspect": (422, "Image too narrow"),
    "unsupported-mode": (422, "Unsupported kind of pixels"),
    "too-many-requests": (429, "Too many requests"),
    "headers-too-large": (431, "Headers too large"),
    "client-gone": (499, "The client left"),  # for the log; nobody receives it
    "internal": (500, "Internal error"),
    "not-explainable": (501, "No heat map from this model"),
    "not-implemented": (501, "Not implemented"),
    "busy": (503, "Busy"),
    "not-ready": (503, "Not ready"),
}
INTERNAL = "something went wrong on the server; the instance number finds it in its log"
RETRY_SECONDS = {"busy": 1, "not-ready": 2}

# On every answer. The policy is one that the built page satisfies as it is: no inline script or style, no other site.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class ProblemError(Exception):
    """An answer other than the one asked for. `slug`: of PROBLEMS; `detail`: a sentence for people."""

    def __init__(self, slug: str, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.slug, self.detail = slug, detail
        self.headers = dict(headers or {})
        if slug in RETRY_SECONDS:
            self.headers["Retry-After"] = str(RETRY_SECONDS[slug])

    @property
    def status(self) -> int:
        return PROBLEMS[self.slug][0]

    def body(self, instance: str) -> str:
        """instance: the request's number, also in the log."""
        status, title = PROBLEMS[self.slug]
        return json.dumps(
            {
                "type": f"/problems/{self.slug}",
                "title": title,
                "status": status,
                "detail": self.detail,
                "instance": instance,
                "error": self.detail,
            },
            ensure_ascii=False,
        )


def too_large(max_bytes: int) -> ProblemError:
    return ProblemError("too-large", f"larger than {max_bytes / 2**20:g} MiB")
