"""What is made of the views for people who read figures."""
