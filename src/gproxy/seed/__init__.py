"""The configured world as a document: its schema, and every complaint about a bad one."""
