-- Format 6: deeds tell who signed in on the page. No table changes, but an older version could not read them, and would take no token.
SELECT 1;
