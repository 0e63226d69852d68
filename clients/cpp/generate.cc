// fma generate: continues a prompt and streams the text.
#include <memory>

#include "clients/cpp/commands.h"
#include "clients/cpp/generate_options.h"
#include "clients/cpp/generate_printer.h"
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
  fma generate "Q: Why? A:" --stop "Q:" --repetition-penalty 1.1
  git diff | fma generate --prompt-file - --top-p 0.9 --seed 1)";

struct Options {
  SessionOptions session;
  GenerateOptions generate;
  bool echo = false;
};

int RunGenerate(const Options& options) {
  auto request = MakeRequest(options.generate);
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

}  // namespace

void AddGenerateCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<Options>();
  CLI::App& command = *app.add_subcommand("generate", "Continue a prompt and stream the text");
  command.footer(kFooter);
  AddGenerateOptions(command, options->generate);
  command.add_flag("--echo", options->echo, "Print the prompt before its continuation");
  AddSessionOptions(command, options->session);
  command.callback([options, &run] { run = [options] { return RunGenerate(*options); }; });
}

}  // namespace fmaserver
