"""`dicomweb completion`: what a shell needs to complete commands and flags."""

from typing import Literal

from dicomweb.commands.printing import write


def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Write the script by which a shell completes commands and flags of dicomweb.

    bash: source <(dicomweb completion bash), for good in ~/.bashrc; zsh: the output as _dicomweb in a folder of
    $fpath; fish: the output as ~/.config/fish/completions/dicomweb.fish.

    Example: dicomweb completion bash

    Parameters
    ----------
    shell
        Which.
    """
    from dicomweb.commands.table import make_app

    write(make_app().generate_completion(prog_name="dicomweb", shell=shell).rstrip("\n"))
