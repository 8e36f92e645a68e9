from tests.storage.databases import postgres, url

__all__ = ["postgres", "url"]
