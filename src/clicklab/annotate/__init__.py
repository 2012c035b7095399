"""`clicklab annotate`: masks made by clicks, in the browser, kept in a folder beside the photos."""
