"""The command line, for tests of runs that are started with it."""

import pytest


@pytest.fixture
def tinygen(capsys):
    """`tinygen("sample", ...)`: the exit code, standard output and standard error."""

    from tinygen import cli

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run
