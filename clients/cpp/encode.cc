// fma embed and fma fill-mask: what an encoder makes of texts.
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/input.h"
#include "clients/cpp/output.h"
#include "clients/cpp/shown_token.h"
#include "clients/cpp/token_json.h"
#include "command_line/numbers.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

using nlohmann::json;

constexpr char kEmbedFooter[] = R"(
Prints the numbers of each text's vector on a line. Vectors have length 1, so that the sum of two
vectors' products says how alike their texts are, up to 1. With --json each text is an object as soon
as it is done: event, index, tokens, truncated_tokens, values; then a summary.

The model must be an encoder: `fma models` tells.

Examples:
  fma embed "The cat sat on the mat"
  fma embed --lines --prompt-file titles.txt --json | jq -c '[.index, .values]')";

constexpr char kFillMaskFooter[] = R"(
Prints a line for each mask, with its place among the tokens, and below it the most likely tokens with
their log-probabilities. With --json each text is an object as soon as it is done: event, index,
tokens, masks; then a summary.

The model must be an encoder with a mask token: `fma models` tells.

Examples:
  fma fill-mask "The cat [MASK] on the mat"
  fma fill-mask --mask ___ --top 3 "It was a ___ and stormy night")";

struct EncodeOptions {
  ConnectionOptions connection;
  InputOptions input;
  bool lines = false;
  bool truncate = false;
  std::string mask = "[MASK]";
  uint32_t top = 5;
};

/// The texts of the input: the whole of it, or its lines.
template <class Request>
absl::Status ReadInputs(const EncodeOptions& options, Request& request) {
  if (!options.lines) return ReadInput(options.input, *request.add_inputs());
  const auto text = ReadText(options.input);
  if (!text.ok()) return text.status();
  std::vector<std::string> lines = absl::StrSplit(*text, '\n');
  if (lines.back().empty()) lines.pop_back();
  for (std::string& line : lines) request.add_inputs()->set_text(std::move(line));
  return absl::OkStatus();
}

json ToJson(const v1::EncoderSummary& summary) {
  return {{"event", "summary"},
          {"tokens", summary.tokens()},
          {"queue_seconds", summary.queue_seconds()},
          {"seconds", summary.seconds()}};
}

json ToJson(const v1::EmbedResponse& response) {
  if (response.has_summary()) return ToJson(response.summary());
  const v1::Embedding& embedding = response.embedding();
  return {{"event", "embedding"},
          {"index", embedding.index()},
          {"tokens", embedding.tokens()},
          {"truncated_tokens", embedding.truncated_tokens()},
          {"values", embedding.values()}};
}

json ToJson(const v1::FillMaskResponse& response) {
  if (response.has_summary()) return ToJson(response.summary());
  json masks = json::array();
  for (const v1::FilledMask& mask : response.text().masks()) {
    masks.push_back(
        {{"position", mask.position()}, {"candidates", AlternativesToJson(mask.candidates())}});
  }
  return {{"event", "text"},
          {"index", response.text().index()},
          {"tokens", response.text().tokens()},
          {"masks", std::move(masks)}};
}

std::string TextOf(const v1::EmbedResponse& response) {
  const auto number = [](std::string* out, float value) {
    absl::StrAppendFormat(out, "%.9g", value);
  };
  return absl::StrJoin(response.embedding().values(), " ", number) + "\n";
}

std::string TextOf(const v1::FillMaskResponse& response) {
  std::string text;
  for (const v1::FilledMask& mask : response.text().masks()) {
    absl::StrAppend(&text, "mask at token ", WithCommas(mask.position()), "\n");
    for (const v1::TokenLogprob& candidate : mask.candidates()) {
      absl::StrAppendFormat(&text, "%9.4f  %s\n", candidate.logprob(), Shown(candidate));
    }
  }
  return text;
}

uint32_t IndexOf(const v1::EmbedResponse& response) { return response.embedding().index(); }
uint32_t IndexOf(const v1::FillMaskResponse& response) { return response.text().index(); }

/// Prints what comes: as JSON at once, for people in the order of the texts.
template <class Response>
class EncodePrinter {
 public:
  EncodePrinter(bool as_json, int texts) : as_json_(as_json), texts_(static_cast<size_t>(texts)) {}

  /// False: nobody reads any more.
  bool Print(const Response& response) {
    if (as_json_) return PrintJsonLine(ToJson(response));
    if (response.has_summary()) return WriteOutput(absl::StrJoin(texts_, ""));
    if (IndexOf(response) < texts_.size()) texts_[IndexOf(response)] = TextOf(response);
    return true;
  }

 private:
  const bool as_json_;
  std::vector<std::string> texts_;
};

/// Makes the call `call(client, context, request, handler)` and prints its answers.
template <class Response, class Request, class Call>
int RunEncoder(const EncodeOptions& options, Request request, Call call) {
  if (absl::Status status = ReadInputs(options, request); !status.ok()) return ReportUsage(status);
  request.set_model(options.connection.model);
  EncodePrinter<Response> printer(options.connection.json, request.inputs_size());
  Connection connection(options.connection);
  bool readers_left = true;
  grpc::ClientContext& context = connection.NewContext();
  const absl::Status status =
      call(connection.client(), context, request, [&](const Response& response) {
        readers_left = readers_left && printer.Print(response);
        if (!readers_left) context.TryCancel();
      });
  return readers_left ? connection.Report(status) : kDone;
}

int RunEmbed(const EncodeOptions& options) {
  v1::EmbedRequest request;
  request.set_truncate(options.truncate);
  return RunEncoder<v1::EmbedResponse>(
      options, std::move(request),
      [](Client& client, auto&&... arguments) { return client.Embed(arguments...); });
}

int RunFillMask(const EncodeOptions& options) {
  v1::FillMaskRequest request;
  request.set_mask(options.mask);
  request.set_top(options.top);
  return RunEncoder<v1::FillMaskResponse>(
      options, std::move(request),
      [](Client& client, auto&&... arguments) { return client.FillMask(arguments...); });
}

void AddEncodeOptions(CLI::App& command, EncodeOptions& options) {
  AddInputOptions(command, options.input);
  command.add_flag("--lines", options.lines, "Each line of the input is a text of its own");
}

}  // namespace

void AddEmbedCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<EncodeOptions>();
  CLI::App& command = *app.add_subcommand("embed", "A vector for each text, made by an encoder");
  command.footer(kEmbedFooter);
  AddEncodeOptions(command, *options);
  command.add_flag("--truncate", options->truncate,
                   "Read the first tokens alone of a text that is too long, in place of an error");
  AddConnectionOptions(command, options->connection);
  command.callback([options, &run] { run = [options] { return RunEmbed(*options); }; });
}

void AddFillMaskCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<EncodeOptions>();
  CLI::App& command =
      *app.add_subcommand("fill-mask", "The most likely tokens at the masks of a text");
  command.footer(kFillMaskFooter);
  AddEncodeOptions(command, *options);
  command.add_option("--mask", options->mask, "What stands for a mask in the text")
      ->capture_default_str();
  AddNumber(command, "--top", options->top, "Tokens to list at every mask, 1 to 100")
      ->capture_default_str();
  AddConnectionOptions(command, options->connection);
  command.callback([options, &run] { run = [options] { return RunFillMask(*options); }; });
}

}  // namespace fmaserver::client
