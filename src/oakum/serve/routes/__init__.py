"""The endpoints, by subject. Another subject is another file with a list `ENDPOINTS`, named in `serve/app.py`."""
