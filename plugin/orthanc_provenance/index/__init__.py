"""The SQL store behind gate, doors and reports: schema, one writer, search, reconcile."""
