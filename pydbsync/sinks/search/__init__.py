"""Rows as documents of OpenSearch or Elasticsearch, each with the place of its change."""
