// fma tokenize and fma detokenize: text to token ids and back.
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/input.h"
#include "clients/cpp/output.h"
#include "command_line/numbers.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

constexpr char kTokenizeFooter[] = R"(
Prints a line for each token, its id and its text; with --json one object with both lists.

Examples:
  fma tokenize "Hello, world"
  fma tokenize --prompt-file book.txt | wc -l)";

constexpr char kDetokenizeFooter[] = R"(
Without ids a JSON array is read from standard input.

Examples:
  fma detokenize 72 101 108 108 111
  fma tokenize --json "Hello" | jq .token_ids | fma detokenize)";

struct TokenizeOptions {
  ConnectionOptions connection;
  InputOptions input;
};

struct DetokenizeOptions {
  ConnectionOptions connection;
  std::vector<uint32_t> ids;
};

void PrintTokens(const v1::TokenizeResponse& response, bool json) {
  if (json) {
    PrintJsonLine({{"token_ids", response.token_ids()}, {"tokens", response.tokens()}});
    return;
  }
  std::string text;
  for (int i = 0; i < response.token_ids_size(); ++i) {
    absl::StrAppendFormat(&text, "%7d  \"%s\"\n", response.token_ids(i),
                          absl::Utf8SafeCHexEscape(response.tokens(i)));
  }
  WriteOutput(text);
}

int RunTokenize(const TokenizeOptions& options) {
  auto text = ReadText(options.input);
  if (!text.ok()) return ReportUsage(text.status());
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::TokenizeRequest>();
  request.set_text(*std::move(text));
  const auto response = connection.client().Tokenize(connection.NewContext(), request);
  if (response.ok()) PrintTokens(*response, options.connection.json);
  return connection.Report(response.status());
}

absl::StatusOr<std::vector<uint32_t>> ReadIds(const DetokenizeOptions& options) {
  if (!options.ids.empty()) return options.ids;
  auto json = ReadText({.text = {}, .file = "-", .token_ids = {}});
  if (!json.ok()) return json.status();
  return ParseTokenIds(*json);
}

int RunDetokenize(const DetokenizeOptions& options) {
  const auto ids = ReadIds(options);
  if (!ids.ok()) return ReportUsage(ids.status());
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::DetokenizeRequest>();
  request.mutable_token_ids()->Add(ids->begin(), ids->end());
  const auto response = connection.client().Detokenize(connection.NewContext(), request);
  if (response.ok() && options.connection.json) PrintJsonLine({{"text", response->text()}});
  if (response.ok() && !options.connection.json) WriteOutput(response->text());
  return connection.Report(response.status());
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App& command = *app.add_subcommand("tokenize", "The token ids of a text");
  command.footer(kTokenizeFooter);
  AddTextOptions(command, options->input);
  AddConnectionOptions(command, options->connection);
  command.callback([options, &run] { run = [options] { return RunTokenize(*options); }; });
}

void AddDetokenizeCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<DetokenizeOptions>();
  CLI::App& command = *app.add_subcommand("detokenize", "The text of token ids");
  command.footer(kDetokenizeFooter);
  AddNumber(command, "ids", options->ids, "Token ids");
  AddConnectionOptions(command, options->connection);
  command.callback([options, &run] { run = [options] { return RunDetokenize(*options); }; });
}

}  // namespace fmaserver::client
