"""Who the navigator asks: one protocol, and its answers from annotations, an endpoint, or MedPLIB."""
