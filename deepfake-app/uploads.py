"""The image out of an upload: bytes in memory, never a file."""

import io

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser

from appconfig import ENVELOPE_BYTES, FORM_BYTES, FORM_PARTS
from imaging.door import MAX_BYTES
from problems import ProblemError, too_large

BODY_BYTES = MAX_BYTES + ENVELOPE_BYTES  # so that an image of MAX_BYTES fits, as it does on the command line
_READ_BYTES = 16 * 2**10  # at once: werkzeug counts what it has read but not yet sorted against FORM_BYTES


class MemoryRequest(Request):
    """Werkzeug would write parts above 500 kB to a temporary file."""

    def _get_file_stream(self, *_args, **_kwargs) -> io.BytesIO:
        return io.BytesIO()


def read_upload(request: MemoryRequest) -> bytes:
    """The bytes of the one file called `file` in a multipart/form-data body. Raises ProblemError."""
    if (request.content_length or 0) > BODY_BYTES:
        raise too_large(MAX_BYTES)
    if request.mimetype != "multipart/form-data":
        raise ProblemError("unsupported-media-type", "send the image as multipart/form-data, in a field called file")
    files = [part for part in _parts(request).getlist("file") if part.filename]
    if not files:
        raise ProblemError("missing-file", "no image: send one file as multipart/form-data, in a field called file")
    if len(files) > 1:
        raise ProblemError("too-many-files", f"{len(files)} images in one request; send one at a time")
    return files[0].stream.getvalue()


def _parts(request: MemoryRequest):
    """The files of a form; none where the form is cut short or makes no sense."""
    boundary = request.mimetype_params.get("boundary", "")
    parser = MultiPartParser(
        request._get_file_stream, FORM_BYTES, buffer_size=_READ_BYTES, max_form_parts=FORM_PARTS
    )  # fmt: skip
    try:
        if not boundary:
            raise ValueError("no boundary")
        return parser.parse(request.stream, boundary.encode("ascii"), request.content_length)[1]
    except RequestEntityTooLarge:
        limits = f"at most {FORM_PARTS} fields, of text at most {FORM_BYTES // 2**10} KiB each"
        raise ProblemError("form-too-large", f"the form around the image is too large: {limits}") from None
    except ValueError:
        raise ProblemError("missing-file", "no image: the form is empty, cut short or not well made") from None
