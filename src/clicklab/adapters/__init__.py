"""Other people's annotation tools as clients: each file speaks one tool's protocol, all stand on `Dialogues`."""
