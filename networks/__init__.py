"""Networks that no library has as we need them; model.py's table names them beside the libraries' own."""
