"""Subjects that no declaration names."""

from mlops_assets.erasure.subject import Subject


def build_subject(text: str, *columns: str, hashed: str = "f" * 32, number: bool = False) -> Subject:
    return Subject(
        tag=columns[0], entity="subject", columns=frozenset(columns), text=text, hashed=hashed, digest="0" * 32, is_number=number
    )
