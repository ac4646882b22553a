"""The database: connections, schema, sealed secrets, configuration, the ledger. See README.md."""
