"""The engine of several machines: documents, keys and tasks in an OpenSearch cluster. `open_engine` imports it when it is named."""
