"""The Flask application: research doors and the REST API."""
