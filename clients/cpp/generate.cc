// fma generate: continues a prompt and streams the text.
#include <memory>

#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/generate_options.h"
#include "clients/cpp/generate_printer.h"
#include "clients/cpp/output.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

constexpr char kGenerateFooter[] = R"(
The text appears as it is generated. When it is complete, standard error tells the speed and the
size of the model's cache, beside what a key/value cache of every token would hold.

Examples:
  fma generate "Once upon a time" --max-tokens 200
  fma generate --prompt-file book.txt --temperature 0
  fma generate "Q: Why? A:" --stop "Q:" --repetition-penalty 1.1
  fma generate "Once upon a time" --n 3 --seed 1
  fma generate --session story "And then"
  git diff | fma generate --prompt-file - --top-p 0.9 --seed 1)";

struct GenerateCommandOptions {
  ConnectionOptions connection;
  GenerateOptions generate;
};

int RunGenerate(const GenerateCommandOptions& options) {
  auto request = MakeRequest(options.generate);
  if (!request.ok()) return ReportUsage(request.status());
  request->set_model(options.connection.model);
  Connection connection(options.connection);
  const auto model = connection.GetModel();
  if (!model.ok()) return connection.Report(model.status());

  if (request->echo() && request->has_text() && !options.connection.json) {
    // Byte for byte, which its tokens need not be.
    WriteOutput(request->text());
    request->set_echo(false);
  }
  GeneratePrinter printer(*model, options.connection.json, request->n());
  bool readers_left = true;
  grpc::ClientContext& context = connection.NewContext();
  const absl::Status status =
      connection.client().Generate(context, *request, [&](const v1::GenerateResponse& response) {
        readers_left = readers_left && printer.Print(response);
        if (!readers_left) context.TryCancel();
      });
  printer.PrintSummary(connection.Interrupted());
  // The reader that closed the pipe has what it wanted.
  return readers_left ? connection.Report(status) : kDone;
}

}  // namespace

void AddGenerateCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<GenerateCommandOptions>();
  CLI::App& command = *app.add_subcommand("generate", "Continue a prompt and stream the text");
  command.footer(kGenerateFooter);
  AddGenerateOptions(command, options->generate);
  AddConnectionOptions(command, options->connection);
  command.callback([options, &run] { run = [options] { return RunGenerate(*options); }; });
}

}  // namespace fmaserver::client
