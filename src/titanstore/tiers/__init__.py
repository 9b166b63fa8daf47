"""Hot rows, warm frames, cold segments, and how vectors move between them."""
