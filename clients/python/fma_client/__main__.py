"""python -m fma_client: the commands of the `fma` tool, with the same options, output and exit codes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from ._cli_encode import add_embed, add_fill_mask, embed, fill_mask
from ._cli_files import OutputLostError, export
from ._cli_options import (
    UsageError,
    add_connection,
    add_generate,
    add_input,
    connect,
    generate_options,
    parse_ids,
    read_input,
    read_prompt,
    read_stdin,
    whole,
)
from ._cli_output import (
    delta_event,
    finished_event,
    note,
    write,
    write_json,
    write_model,
    write_score,
    write_score_json,
    write_session,
    write_session_details,
    write_summary,
    write_token,
    write_tokens,
)
from .errors import DeadlineExceededError, FmaError, UnavailableError
from .generation import Generation
from .types import Model

_EXIT_OUTPUT_LOST = 1
_EXIT_WRONG_USAGE = 2
_EXIT_REFUSED = 3
_EXIT_UNREACHABLE = 4
_EXIT_INTERRUPTED = 130

_CONNECT_SECONDS = 10


def _generate(args: argparse.Namespace) -> None:
    prompt = None if args.resume else read_prompt(args)
    options = generate_options(args)
    on_progress = _write_progress if args.json else None
    with connect(args) as client:
        model = client.model(timeout=_CONNECT_SECONDS)
        if args.echo and not args.json and isinstance(prompt, str):
            write(prompt)  # byte for byte, which its tokens need not be
            del options["echo"]
        started = time.monotonic()
        if args.resume:
            stream = client.resume(args.resume)
        elif args.session:
            stream = client.session(args.session).generate(prompt, on_progress=on_progress, **options)
        else:
            stream = client.generate("" if prompt is None else prompt, on_progress=on_progress, **options)
        interrupted = True
        try:
            _show(stream, model, args)
            interrupted = False
        finally:
            if not args.json:
                write_summary(stream.completions, model, started, interrupted)


def _write_progress(processed: int, total: int) -> None:
    write_json({"event": "progress", "processed_tokens": processed, "total_tokens": total})


def _show(stream: Generation, model: Model, args: argparse.Namespace) -> None:
    indexed = (args.n or 1) > 1
    first = True
    for delta in stream:
        if first:
            _show_prompt(stream, model, args)
            first = False
        if args.json:
            write_json(delta_event(delta, indexed))
        elif not indexed:
            write(delta.text if model.tokenizer else "".join(f"{token} " for token in delta.token_ids))
    for completion in stream.completions:
        if args.json:
            write_json(finished_event(completion, model, indexed))
        elif indexed:
            write(f"--- {completion.index}\n{completion.text}\n")


def _show_prompt(stream: Generation, model: Model, args: argparse.Namespace) -> None:
    for token in stream.prompt:
        if args.json:
            write_token("prompt", token)
        else:
            write(token.token if model.tokenizer else f"{token.token_id} ")


def _score(args: argparse.Namespace) -> None:
    text = read_input(args)
    with connect(args) as client:
        score = client.score(text, top_logprobs=args.top_logprobs, no_archive=args.no_archive)
        if args.json:
            write_score_json(score)
        else:
            write_score(score, args.tokens or args.top_logprobs > 0)


def _tokenize(args: argparse.Namespace) -> None:
    text = read_input(args)
    with connect(args) as client:
        tokens = client.tokenize(str(text))
        if args.json:
            write_json(tokens)
        else:
            write_tokens(tokens)


def _detokenize(args: argparse.Namespace) -> None:
    ids = args.ids or parse_ids(read_stdin().decode())
    with connect(args) as client:
        text = client.detokenize(ids)
        if args.json:
            write_json({"text": text})
        else:
            write(text)


def _health(args: argparse.Namespace) -> int:
    with connect(args) as client:
        serving = client.is_serving(timeout=_CONNECT_SECONDS)
    status = "SERVING" if serving else "NOT_SERVING"
    if args.json:
        write_json({"status": status})
    else:
        write(status + "\n")
    return 0 if serving else _EXIT_REFUSED


def _models(args: argparse.Namespace) -> None:
    with connect(args) as client:
        for index, model in enumerate(client.list_models(timeout=_CONNECT_SECONDS)):
            if args.json:
                write_json(model)
            else:
                write("\n" * (index > 0))
                write_model(model)


def _admin(args: argparse.Namespace) -> None:
    with connect(args) as client:
        if args.action == "unload":
            return client.unload_model(args.name, grace_seconds=args.grace)
        model = client.load_model(args.folder, args.name)
        if args.json:
            write_json(model)
        else:
            write_model(model)


def _sessions(args: argparse.Namespace) -> None:
    with connect(args) as client:
        match args.action:
            case "create":
                made = client.create_session(args.id or "", ttl_seconds=args.ttl, pinned=args.pin)
                write_session(made.info(), args.json)
            case "list":
                for info in client.list_sessions():
                    write_session(info, args.json)
            case "show":
                write_session_details(client.session(args.id).info(), args.json)
            case "update":
                pinned = True if args.pin else False if args.unpin else None
                write_session(client.session(args.id).update(ttl_seconds=args.ttl, pinned=pinned), args.json)
            case "fork":
                for child in client.session(args.id).fork(args.children):
                    write_session(child.info(), args.json)
            case "rewind":
                write_session(client.session(args.id).rewind(args.tokens), args.json)
            case "delete":
                client.session(args.id).delete()
            case "export":
                export(client.session(args.id).export(head_only=args.head_only), args.file)
            case "import":
                with open(0 if args.file == "-" else args.file, "rb") as file:
                    pieces = iter(lambda: file.read(1 << 20), b"")
                    made = client.import_session(pieces, args.id or "", ttl_seconds=args.ttl, pinned=args.pin)
                write_session(made.info(), args.json)


def _add_sessions(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str, *positional: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=text)
        add_connection(made)
        for each in positional:
            made.add_argument(each.rstrip("?"), metavar=each.rstrip("?").upper(), nargs="?" if "?" in each else None)
        return made

    create = action("create", "A new, empty session", "id?")
    action("list", "All sessions, in order of their ids")
    action("show", "All about one session", "id")
    update = action("update", "Changes how long it is kept", "id")
    fork = action("fork", "New sessions that hold the same", "id")
    fork.add_argument("--children", type=whole, default=1, help="How many")
    rewind = action("rewind", "Forgets the tokens past a point", "id")
    rewind.add_argument("tokens", type=whole, metavar="TOKENS", help="How many to keep")
    action("delete", "Forgets a session", "id")
    exported = action("export", "Writes a session into a file", "id", "file")
    exported.add_argument("--head-only", action="store_true", help="Without its rewind points: smaller")
    imported = action("import", "Makes a session of an exported file", "file", "id?")
    for command in (create, update, imported):
        command.add_argument("--ttl", type=float, metavar="SECONDS", help="Expires after so long without use")
        pinning = command.add_mutually_exclusive_group()
        pinning.add_argument("--pin", action="store_true", help="Never expires")
        if command is update:
            pinning.add_argument("--unpin", action="store_true", help="Expires again")


def _add_admin(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    load = actions.add_parser("load", help="Serves one more model")
    load.add_argument("folder", metavar="FOLDER", help="Checkpoint folder on the server's machine")
    load.add_argument("--name", default="", help="What requests call it (server: the folder's name)")
    unload = actions.add_parser("unload", help="Ends serving a model")
    unload.add_argument("name", metavar="NAME")
    unload.add_argument("--grace", type=float, metavar="SECONDS", help="For its running requests")
    for each in (load, unload):
        add_connection(each)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fma_client", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, run: Callable[[argparse.Namespace], int | None]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    generate = command("generate", "Continue a prompt and stream the text", _generate)
    add_generate(generate)
    score = command("score", "Log-probabilities of a given text", _score)
    add_input(score)
    score.add_argument("--tokens", action="store_true", help="Print every token")
    score.add_argument("--top-logprobs", type=whole, default=0, help="Alternatives to list at every token")
    score.add_argument("--no-archive", action="store_true", help="Be served in constant memory")
    embeds = command("embed", "A vector for each text, made by an encoder", embed)
    add_embed(embeds)
    fills = command("fill-mask", "The most likely tokens at the masks of a text", fill_mask)
    add_fill_mask(fills)
    tokenize = command("tokenize", "The token ids of a text", _tokenize)
    add_input(tokenize, token_ids=False)
    detokenize = command("detokenize", "The text of token ids", _detokenize)
    detokenize.add_argument("ids", type=whole, nargs="*")
    models = command("models", "What the server serves and what a sequence costs", _models)
    health = command("health", "Whether the server takes requests", _health)
    for each in (generate, score, embeds, fills, tokenize, detokenize, models, health):
        add_connection(each)
    _add_admin(command("admin", "Load and unload models of a running server", _admin))
    _add_sessions(command("sessions", "Conversations that the server keeps", _sessions))
    return parser


def main() -> int:
    args = _parser().parse_args()
    try:
        return args.run(args) or 0
    except (UsageError, UnicodeDecodeError, ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            return 0  # whoever closed the pipe has what they wanted
        note(f"fma_client: {error}")
        return _EXIT_WRONG_USAGE
    except OutputLostError as error:
        note(f"fma_client: {error}")
        return _EXIT_OUTPUT_LOST
    except (UnavailableError, DeadlineExceededError) as error:
        note(f"fma_client: the server at {args.server} is not available: {error.message}")
        return _EXIT_UNREACHABLE
    except FmaError as error:
        note(f"fma_client: the server refused the request ({error})")
        return _EXIT_REFUSED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
