"""Who asks: what a request's credential says, in the form that every door takes."""
