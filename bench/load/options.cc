#include "bench/load/options.h"

#include "absl/status/statusor.h"
#include "command_line/numbers.h"

namespace fmaserver::bench {
namespace {

constexpr char kFooter[] = R"(
Lengths: fixed:N, uniform:MIN:MAX, or lognormal:MEDIAN:SIGMA:MAX. Every output has exactly the
length that was drawn: generation goes on past the end of the text.

With several --server, request number i goes to server number i, round and round.

Conversations: --conversations of them run at once, each of --turns turns with pauses to think, and
a server keeps each in a session, so the servers must share their sessions (--session-dir,
--session-store). Conversation number i begins at server number i; when a call fails it goes on at
the next, by the resume token that a draining server gives or by taking the session back to where
the turn began. First they run undisturbed, and then once more with the faults: every token must be
the same. --reference keeps the tokens of the first run for later ones.

Faults: the file of --faults has lines  SECONDS COMMAND ; # begins a comment. Each command is run by
/bin/sh, with your rights, so many seconds after the start of the run, whether or not the one before
has ended:
   2   kill -TERM 4711                                # drain
   5   kill -9 4712
   6   fma-server --model m --listen 127.0.0.1:50052 --session-dir s >log 2>&1
  10   kill -STOP 4713; sleep 3; kill -CONT 4713
What still runs at the end, like that server, gets SIGTERM. The report says what happened from each
fault until the next; a line  20 true  ends the time that is put down to the one before.

Examples:
  fma-bench --concurrency 16 --requests 200 --warmup 16
  fma-bench --server a:50051 --server b:50051 --conversations 50 --think 2 --faults faults.txt
  fma-bench --rate 5 --duration 60 --prompt-tokens lognormal:400:1:8000 --json result.json
  fma-bench --neighbour-of 262144 --concurrency 4 --duration 10

Exit codes: 0 done, 1 output could not be written, or a conversation was lost or had other tokens, or
a fault failed or came after the end, 2 wrong usage, 3 no request succeeded, 4 server not reachable,
130 interrupted, after the report of what was measured until then.)";

std::string WhyNoDistribution(const std::string& text) {
  const auto lengths = LengthDistribution::Parse(text);
  return lengths.ok() ? std::string() : std::string(lengths.status().message());
}

void AddArrivalOptions(CLI::App& app, LoadOptions& options) {
  const std::string group = "Load";
  AddNumber(app, "--concurrency", options.concurrency,
            "Requests at once (8); with --rate the most at once (256)")
      ->check(CLI::Range(1, 10'000))
      ->group(group);
  AddNumber(app, "--rate", options.rate,
            "Arrivals a second at random times (Poisson), whether or not others are done")
      ->check(CLI::Range(1e-3, 1e6))
      ->group(group);
  AddNumber(app, "--requests", options.requests,
            "Requests to send (100, without limit with --duration)")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}))
      ->group(group);
  AddNumber(app, "--duration", options.duration_seconds, "Seconds after which none is sent")
      ->check(CLI::Range(0.001, 1e6))
      ->group(group);
  AddNumber(app, "--warmup", options.warmup_requests, "Requests before those that count")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->group(group);
  AddNumber(app, "--neighbour-of", options.neighbour_of,
            "Instead: the gaps between the tokens of --concurrency streams, alone for "
            "--duration (5) and then while a prompt of so many tokens is read")
      ->check(CLI::Range(int64_t{1}, int64_t{7'000'000}))
      ->excludes("--rate", "--requests", "--warmup")
      ->group(group);
}

void AddConversationOptions(CLI::App& app, LoadOptions& options) {
  const std::string group = "Conversations";
  CLI::Option* conversations =
      AddNumber(app, "--conversations", options.conversations,
                "Instead: so many conversations at once, whose tokens are compared; see below")
          ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
          ->excludes("--rate", "--requests", "--warmup", "--duration", "--concurrency",
                     "--neighbour-of")
          ->group(group);
  AddNumber(app, "--turns", options.turns, "Turns of a conversation")
      ->check(CLI::Range(int64_t{1}, int64_t{100'000}))
      ->capture_default_str()
      ->needs(conversations)
      ->group(group);
  AddNumber(app, "--think", options.think_seconds,
            "Seconds before each turn, on average; at random (exponential)")
      ->check(CLI::Range(0.0, 1e6))
      ->needs(conversations)
      ->group(group);
  AddNumber(app, "--patience", options.patience_seconds,
            "Seconds without a new token after which a failure means that a conversation is lost; "
            "the deadline of its calls too, without --timeout")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str()
      ->needs(conversations)
      ->group(group);
  app.add_option("--faults", options.fault_file, "Commands and their times; see below")
      ->type_name("FILE")
      ->needs(conversations)
      ->group(group);
  app.add_option("--reference", options.reference_file,
                 "The tokens of the undisturbed run: read from the file, or written to it where "
                 "there is none yet")
      ->type_name("FILE")
      ->needs(conversations)
      ->group(group);
}

void AddPrefillOption(CLI::App& app, LoadOptions& options) {
  app.add_option("--prefill", options.prefill,
                 "With --conversations and --neighbour-of: a server that reads the prompts, into "
                 "sessions that the others go on with")
      ->type_name("HOST:PORT")
      ->group("Load");
  app.callback([&options] {
    if (options.prefill.empty() || options.neighbour_of > 0 || options.conversations > 0) return;
    throw CLI::RequiresError("--prefill", "--conversations or --neighbour-of");
  });
}

void AddRequestOptions(CLI::App& app, LoadOptions& options) {
  const std::string group = "Requests";
  app.add_option("--prompt-tokens", options.prompt_lengths, "Lengths of prompts")
      ->check(WhyNoDistribution, "DISTRIBUTION")
      ->capture_default_str()
      ->group(group);
  app.add_option("--output-tokens", options.output_lengths, "Lengths of outputs")
      ->check(WhyNoDistribution, "DISTRIBUTION")
      ->capture_default_str()
      ->group(group);
  app.add_option("--prompt-file", options.prompt_file,
                 "Prompts are pieces of this text, at most 16 MiB; otherwise random token ids")
      ->check(CLI::ExistingFile)
      ->group(group);
  AddNumber(app, "--temperature", options.temperature, "Sampling temperature (server: 1)")
      ->group(group);
  AddNumber(app, "--timeout", options.timeout_seconds, "Deadline of a request in seconds; 0: none")
      ->check(CLI::Range(0.0, 1e6))
      ->group(group);
  AddNumber(app, "--seed", options.seed, "Same seed, same requests and arrival times")
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddLoadOptions(CLI::App& app, LoadOptions& options) {
  app.footer(kFooter);
  app.add_option("--server", options.servers, "Address of the server; may be repeated")
      ->allow_extra_args(false)
      ->type_name("HOST:PORT")
      ->envname("FMA_SERVER")
      ->capture_default_str();
  client::AddAccessOptions(app, options.access);
  app.add_option("--json", options.json_file, "Write the report to this file too")
      ->type_name("FILE");
  AddArrivalOptions(app, options);
  AddPrefillOption(app, options);
  AddConversationOptions(app, options);
  AddRequestOptions(app, options);
}

}  // namespace fmaserver::bench
