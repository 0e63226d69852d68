// fma chat: a conversation in the terminal.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/refusal.h"
#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/conversation.h"
#include "clients/cpp/generate_options.h"
#include "clients/cpp/line_reader.h"
#include "clients/cpp/output.h"

namespace fmaserver::client {
namespace {

constexpr uint32_t kMaxTokens = 1024;

constexpr char kChatFooter[] = R"(
Each line is a message; a pasted text with several lines is one. Ctrl-C stops an answer, and what
was asked is forgotten with it. Ctrl-D ends the chat. Lines that begin with a slash are commands,
which /help lists.

The server keeps the conversation as a session, whose size does not grow. It goes with the end of
the chat, unless --session names it.

Examples:
  fma chat --system "You answer in one sentence."
  fma chat --session tale --temperature 0.7
  printf 'Who are you?\nAnd who am I?\n' | fma chat)";

constexpr char kHelp[] =
    "/system TEXT   a new conversation, with these instructions for the model\n"
    "/more          go on with an answer that was cut\n"
    "/rewind [N]    forget the last N messages and their answers (1)\n"
    "/fork          go on in a copy; what was said so far stays under its id\n"
    "/save FILE     write the conversation to a file, for `fma sessions import`\n"
    "/context       what it holds, and what that costs\n"
    "/quit          end, as Ctrl-D does\n";

struct ChatOptions {
  ConnectionOptions connection;
  GenerateOptions generate;
  std::string instructions;
};

/// Everything but a message that is for the model goes to standard error.
void Tell(const std::string& text) { absl::FPrintF(stderr, "%s\n", text); }

class Chat {
 public:
  Chat(Connection& connection, Conversation talk)
      : connection_(connection), talk_(std::move(talk)) {}

  int Run(LineReader& reader) {
    if (reader.interactive()) Tell("/help lists what there is besides talking.");
    while (!done_) {
      const std::optional<std::string> line = reader.Read("> ");
      if (!line.has_value()) {
        if (reader.interactive()) Tell("");
        break;
      }
      connection_.ForgetInterrupt();
      if (absl::StripAsciiWhitespace(*line).empty()) continue;
      const absl::Status status = line->starts_with('/') ? Obey(*line) : Answer(talk_.Say(*line));
      if (status.ok() || Stopped()) continue;
      const ExitCode code = connection_.Report(status);
      // A person may try something else; a script must not take what follows for an answer.
      if (!reader.interactive()) return Close(code);
    }
    return Close(kDone);
  }

 private:
  int Close(ExitCode code) {
    connection_.ForgetInterrupt();
    talk_.Close();
    return code;
  }

  bool Stopped() {
    if (!connection_.Interrupted()) return false;
    // Ctrl-C once more is about the next line: only two for one answer end the program.
    connection_.ForgetInterrupt();
    Tell("stopped; the conversation is as it was before");
    return true;
  }

  absl::Status Answer(absl::Status status) {
    if (status.ok())
      Tell(absl::StrCat("[", talk_.Cost(), talk_.was_cut() ? "; /more goes on" : "", "]"));
    return status;
  }

  absl::Status Obey(const std::string& line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(1, space - 1);
    const std::string argument(absl::StripAsciiWhitespace(line.substr(space)));
    if (name == "help") return Said(kHelp);
    if (name == "context") return Said(absl::StrCat(talk_.Cost(), "; session ", talk_.id()));
    if (name == "more") return Answer(talk_.GoOn());
    if (name == "system") return Then(talk_.Restart(argument), "a new conversation");
    if (name == "rewind") return Rewind(argument);
    if (name == "fork") return Fork();
    if (name == "save") return Save(argument);
    if (name != "quit") return Refusal("command", line.substr(0, space), "those that /help lists");
    done_ = true;
    return absl::OkStatus();
  }

  static absl::Status Said(const std::string& text) { return Then(absl::OkStatus(), text); }

  static absl::Status Then(absl::Status status, const std::string& text) {
    if (status.ok()) Tell(text);
    return status;
  }

  absl::Status Rewind(const std::string& argument) {
    uint64_t exchanges = 1;
    if (!argument.empty() && !absl::SimpleAtoi(argument, &exchanges)) {
      return Refusal("number of exchanges to forget", argument, "1 or more");
    }
    absl::Status status = talk_.Rewind(exchanges);
    return Then(status, absl::StrCat("back at ", talk_.Cost()));
  }

  absl::Status Fork() {
    const auto kept = talk_.Fork();
    if (!kept.ok()) return kept.status();
    return Said(absl::StrCat("what was said so far stays: fma chat --session ", *kept));
  }

  absl::Status Save(const std::string& file) {
    if (file.empty()) return Refusal("/save", Words{"without a file"}, "/save FILE");
    return Then(talk_.Save(file), absl::StrCat("saved: fma sessions import ", file,
                                               " NAME, then fma "
                                               "chat --session NAME"));
  }

  Connection& connection_;
  Conversation talk_;
  bool done_ = false;
};

int RunChat(const ChatOptions& options) {
  auto request = MakeOptions(options.generate);
  if (!request.ok()) return ReportUsage(request.status());
  request->set_model(options.connection.model);
  LineReader reader;
  Connection connection(options.connection);
  const auto model = connection.GetModel();
  if (!model.ok()) return connection.Report(model.status());
  if (!model->chat()) {
    return connection.Report(Refusal("model", model->name(), "one with a chat template",
                                     absl::StatusCode::kFailedPrecondition));
  }
  auto talk = Conversation::Open(connection, *model, *std::move(request));
  if (!talk.ok()) return connection.Report(talk.status());
  if (absl::Status status = talk->Instruct(options.instructions); !status.ok()) {
    return ReportUsage(status);
  }
  return Chat(connection, *std::move(talk)).Run(reader);
}

}  // namespace

void AddChatCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App& command = *app.add_subcommand("chat", "Talk with a model");
  command.footer(kChatFooter);
  command.add_option("--system", options->instructions, "Instructions for the model")
      ->type_name("TEXT");
  command
      .add_option("--session", options->generate.session_id,
                  "Go on with this session, or make it; it stays")
      ->type_name("ID");
  options->generate.max_tokens = kMaxTokens;
  AddSamplingOptions(command, options->generate);
  AddArchiveOptions(command, options->generate);
  AddSharesOption(command, options->generate);
  AddServerOptions(command, options->connection);
  command.callback([options, &run] { run = [options] { return RunChat(*options); }; });
}

}  // namespace fmaserver::client
