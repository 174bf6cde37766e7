"""The life of one payment, as the topics have it: ``payments trace``."""
