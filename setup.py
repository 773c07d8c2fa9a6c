"""Puts the bundles, which stand beside the package in the repository, into it when it is built."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLES = Path("bundles")
PARTS = ("configs/*.json", "configs/*.conf", "docs/*.md", "docs/*.txt", "LICENSE", "large_files.yml")  # no weights


class WithBundles(build_py):
    """Build the package as always, then copy the bundles' sources to where `neuroxai.bundles.catalogue` looks."""

    def _shipped(self) -> dict[str, Path]:
        target = Path(self.build_lib) / "neuroxai" / "shipped_bundles"
        files = [file for part in PARTS for file in sorted(BUNDLES.glob(f"*/{part}"))]
        return {str(target / file.relative_to(BUNDLES)): file for file in files}

    def run(self) -> None:
        """Build."""
        super().run()
        if not self.editable_mode:
            for target, file in self._shipped().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(str(file), target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """List the files that are built."""
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._shipped())]


setup(cmdclass={"build_py": WithBundles})
