"""The warehouse room: server, migrations, connections, release and verification."""
