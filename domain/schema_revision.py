"""Whether a program works with a database, by the revisions of both.

A program has the revision of the newest migration that it brings. Each migration says which program is the oldest that
the migrated database supports.

the database's revision     the program
────────────────────────    ─────────────────────────────────────────────────────────────────────────
the program's               works
none, or an older one       refuses, until the database is migrated
a newer one                 works, unless it is older than the oldest program that the database supports
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The revision of a database (None: it was never migrated), the program's, and the oldest that is supported.

    `oldest_program` is None where the database does not say. Revisions are digits of one length, in their order.
    """

    database: str | None
    program: str
    oldest_program: str | None = None

    @property
    def refusal(self) -> str | None:
        """Why the program does not work with the database, after the database's name; None if it does."""
        if self.database is None:
            return "was never migrated: run `repoint migrate`"
        if self.database < self.program:
            return f"stands at revision {self.database}, this program at {self.program}: run `repoint migrate`"
        if self.database > self.program and self.program < (self.oldest_program or self.database):
            supported = self.oldest_program or self.database
            supports = f"stands at revision {self.database}, and supports programs from {supported} on"
            return f"{supports}: this one is of {self.program}, so run a newer version"
        return None
