"""The mltrainer command and the local stack."""
