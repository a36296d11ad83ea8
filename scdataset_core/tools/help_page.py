"""The page that `scdataset --help` prints: commands by what they are for."""

from typing import Any

from typer.core import TyperGroup

__all__ = ["HelpPage"]

GROUPS = (
    ("Look at files", ("inspect", "verify")),
    ("Choose settings", ("suggest", "tune", "bench")),
    ("Prepare data", ("split", "rewrite", "cache", "index")),
    ("Try it without data", ("make-data", "demo")),
)
EXAMPLES = """\
Begin with these:
  scdataset inspect 'plates/*.h5ad'
  scdataset tune 'plates/*.h5ad' --memory 2GiB --label plate

Quote globs, so that your shell does not expand them. `scdataset COMMAND --help`
says more. All commands take --json; they print plain text into a pipe, and no
colours where NO_COLOR is set. They exit with 0 where all is well, with 1 where
something is wrong, and with 2 for a wrong option.
"""


class HelpPage(TyperGroup):
    """Lists commands in groups, each with its whole first sentence."""

    # Any: Typer has Click inside, or beside it, by its version.
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups; commands that are in none come last."""
        commands = {
            name: command
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) and not command.hidden
        }
        width = max(map(len, commands))
        named = {name for _, names in GROUPS for name in names}
        rest = ("More", tuple(name for name in commands if name not in named))
        for title, names in (*GROUPS, rest):
            lines = [
                (name.ljust(width), commands[name].get_short_help_str(200))
                for name in names
                if name in commands
            ]
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write how to begin."""
        formatter.write_paragraph()
        for line in EXAMPLES.splitlines():
            formatter.write(f"{line}\n")
