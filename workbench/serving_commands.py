"""`workbench score` and `workbench verify`: their options and what they print. Nothing here imports torch."""

import argparse
from pathlib import Path


def add_score_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="its folder")
    parser.add_argument("--input", metavar="FILE", type=Path, required=True, help="requests: .parquet, .csv or .jsonl")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="lists: .parquet, .csv or .jsonl")
    parser.add_argument("-k", type=int, metavar="N", help="places of a list; default: what was promoted")
    parser.add_argument("--trace", action="store_true", help="how each list came about, as JSON, in every row")


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="its folder")


def score(options: argparse.Namespace) -> int:
    from workbench.serving import Bundle
    from workbench.serving.score import score_file

    bundle = Bundle.open(options.bundle)
    requests, rows, fallback = score_file(bundle, options.input, options.output, k=options.k, trace=options.trace)
    system, other = bundle.manifest["made"]["system"], bundle.manifest["lists"]["fallback"]
    served = f"{requests - fallback:,} served by {system}, {fallback:,} by {other}" if fallback else f"served by {system}"
    print(f"{requests:,} requests, {rows:,} rows, {served}\n{options.output}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Exit code 1 when the bundle no longer answers as it did."""
    from workbench.serving import Bundle
    from workbench.serving.verify import verify_bundle

    bundle = Bundle.open(options.bundle)
    print(f"{bundle.manifest['name']}: {len(bundle.manifest['sha256'])} files are as they were written")
    found = verify_bundle(bundle)
    for name, each in found.items():
        print(f"golden requests, {name}: {each.text}")
    holds = all(each.holds for each in found.values())
    print("parity holds" if holds else "parity does not hold: this is not the model that was measured")
    return 0 if holds else 1
