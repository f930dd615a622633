"""What a caller installs to talk to a dosecalc server: the wire types (`v1`) and the client library (`client`)."""
