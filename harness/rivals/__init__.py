"""Side by side with what people would use instead of the store."""
