"""The machinery that turns chapters into records and a site."""
