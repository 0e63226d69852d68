// fma generate: continues a prompt and streams the text.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "clients/cpp/commands.h"
#include "clients/cpp/generate_printer.h"
#include "clients/cpp/input.h"
#include "clients/cpp/output.h"
#include "clients/cpp/session.h"

namespace fmaserver {
namespace {

constexpr char kFooter[] = R"(
The text appears as it is generated. When it is complete, standard error tells the speed and the
size of the model's cache, beside what a key/value cache of every token would hold.

Examples:
  fma generate "Once upon a time" --max-tokens 200
  fma generate --prompt-file book.txt --temperature 0
  git diff | fma generate --prompt-file - --top-p 0.9 --seed 1)";

struct Options {
  SessionOptions session;
  InputOptions input;
  std::optional<uint32_t> max_tokens;
  std::optional<float> temperature;
  std::optional<uint32_t> top_k;
  std::optional<float> top_p;
  std::optional<uint64_t> seed;
  bool ignore_eos = false;
  bool logprobs = false;
  bool echo = false;
};

// What the user left out stays out of the request: the server's defaults apply.
absl::StatusOr<v1::GenerateRequest> MakeRequest(const Options& options) {
  v1::GenerateRequest request;
  if (absl::Status status = ReadInput(options.input, request); !status.ok()) return status;
  v1::SamplingParams& sampling = *request.mutable_sampling();
  if (options.max_tokens) request.set_max_tokens(*options.max_tokens);
  if (options.temperature) sampling.set_temperature(*options.temperature);
  if (options.top_k) sampling.set_top_k(*options.top_k);
  if (options.top_p) sampling.set_top_p(*options.top_p);
  if (options.seed) sampling.set_seed(*options.seed);
  request.set_ignore_eos(options.ignore_eos);
  request.set_logprobs(options.logprobs);
  return request;
}

int RunGenerate(const Options& options) {
  auto request = MakeRequest(options);
  if (!request.ok()) return ReportUsage(request.status());
  Session session(options.session);
  const auto model = session.GetModel();
  if (!model.ok()) return session.Report(model.status());

  if (options.echo && !options.session.json) PrintText(request->text());
  GeneratePrinter printer(*model, options.session.json);
  bool readers_left = true;
  grpc::ClientContext& context = session.NewContext();
  const absl::Status status =
      session.client().Generate(context, *request, [&](const v1::GenerateResponse& response) {
        readers_left = readers_left && printer.Print(response);
        if (!readers_left) context.TryCancel();
      });
  printer.PrintSummary(session.Interrupted());
  // Whoever closed the pipe has what they wanted.
  return readers_left ? session.Report(status) : kDone;
}

void AddSamplingOptions(CLI::App& command, Options& options) {
  const auto add = [&command](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->group("Sampling");
  };
  add("-n,--max-tokens", options.max_tokens, "Most tokens to generate, 1 or more (server: 16)");
  add("--temperature", options.temperature, "0 takes the most likely token (server: 1)");
  add("--top-k", options.top_k, "Choose among the k most likely tokens; 0: all (server: 0)");
  add("--top-p", options.top_p, "Choose among tokens that sum to this, in (0, 1] (server: 1)");
  add("--seed", options.seed, "Repeats a result (server: at random)");
  command.add_flag("--ignore-eos", options.ignore_eos, "Go on past the end of the text")
      ->group("Sampling");
}

}  // namespace

void AddGenerateCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<Options>();
  CLI::App& command = *app.add_subcommand("generate", "Continue a prompt and stream the text");
  command.footer(kFooter);
  AddInputOptions(command, options->input);
  AddSamplingOptions(command, *options);
  command.add_flag("--echo", options->echo, "Print the prompt before its continuation");
  command.add_flag("--logprobs", options->logprobs, "With --json: each token's log-probability");
  AddSessionOptions(command, options->session);
  command.callback([options, &run] { run = [options] { return RunGenerate(*options); }; });
}

}  // namespace fmaserver
