"""⑨ Who wants what since when → an open response, or a problem that says what to do."""
