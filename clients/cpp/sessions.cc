// fma sessions: the conversations that a server keeps.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "clients/cpp/blob_file.h"
#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/output.h"
#include "clients/cpp/session_export.h"
#include "clients/cpp/session_printer.h"
#include "command_line/numbers.h"

namespace fmaserver::client {
namespace {

constexpr char kSessionsFooter[] = R"(
A session holds the tokens of a conversation in a block of memory that does not grow with it.
`fma generate --session ID` continues it: only the new text is sent and read.

Examples:
  fma sessions create story --ttl 3600
  fma generate --session story "It was a dark" && fma generate --session story " and then"
  fma sessions fork story --children 3
  fma sessions rewind story 12
  fma sessions export story story.fma && fma sessions import story.fma copy)";

struct SessionsOptions {
  ConnectionOptions connection;
  std::string id;
  std::string file;
  std::optional<double> ttl_seconds;
  bool pin = false;
  bool unpin = false;
  std::optional<uint32_t> children;
  uint64_t tokens = 0;
  bool head_only = false;
};

/// Prints the session that a call returned.
int Show(const Connection& connection, const absl::StatusOr<v1::Session>& session) {
  if (session.ok()) PrintSession(*session, connection.options().json);
  return connection.Report(session.status());
}

v1::CreateSessionRequest CreateRequest(const SessionsOptions& options) {
  v1::CreateSessionRequest request;
  request.set_model(options.connection.model);
  request.set_session_id(options.id);
  if (options.ttl_seconds) request.set_ttl_seconds(*options.ttl_seconds);
  request.set_pinned(options.pin);
  return request;
}

int Create(const SessionsOptions& options) {
  Connection connection(options.connection);
  return Show(connection,
              connection.client().CreateSession(connection.NewContext(), CreateRequest(options)));
}

int List(const SessionsOptions& options) {
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::ListSessionsRequest>();
  while (true) {
    const auto page = connection.client().ListSessions(connection.NewContext(), request);
    if (!page.ok()) return connection.Report(page.status());
    for (const v1::Session& session : page->sessions()) {
      if (!PrintSession(session, options.connection.json)) return kDone;
    }
    if (page->next_page_token().empty()) return kDone;
    request.set_page_token(page->next_page_token());
  }
}

int ShowOne(const SessionsOptions& options) {
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::GetSessionRequest>();
  request.set_session_id(options.id);
  const auto session = connection.client().GetSession(connection.NewContext(), request);
  if (session.ok()) PrintSessionDetails(*session, options.connection.json);
  return connection.Report(session.status());
}

int Update(const SessionsOptions& options) {
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::UpdateSessionRequest>();
  request.set_session_id(options.id);
  if (options.ttl_seconds) request.set_ttl_seconds(*options.ttl_seconds);
  if (options.pin || options.unpin) request.set_pinned(options.pin);
  return Show(connection, connection.client().UpdateSession(connection.NewContext(), request));
}

int Fork(const SessionsOptions& options) {
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::ForkSessionRequest>();
  request.set_session_id(options.id);
  if (options.children) request.set_children(*options.children);
  const auto response = connection.client().ForkSession(connection.NewContext(), request);
  if (!response.ok()) return connection.Report(response.status());
  for (const v1::Session& child : response->children()) {
    PrintSession(child, options.connection.json);
  }
  return kDone;
}

int Rewind(const SessionsOptions& options) {
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::RewindSessionRequest>();
  request.set_session_id(options.id);
  request.set_tokens(options.tokens);
  return Show(connection, connection.client().RewindSession(connection.NewContext(), request));
}

int Delete(const SessionsOptions& options) {
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::DeleteSessionRequest>();
  request.set_session_id(options.id);
  return connection.Report(connection.client().DeleteSession(connection.NewContext(), request));
}

int Export(const SessionsOptions& options) {
  auto file = ExportFile::Create(options.file);
  if (!file.ok()) return ReportUsage(file.status());
  Connection connection(options.connection);
  auto request = connection.NewRequest<v1::ExportSessionRequest>();
  request.set_session_id(options.id);
  request.set_head_only(options.head_only);
  const ExportOutcome outcome = ExportInto(*file, connection, request);
  if (outcome.file.ok()) return connection.Report(outcome.call);
  // What became of standard output is FinishOutput()'s to say.
  return absl::IsCancelled(outcome.file) ? kDone : ReportLost(outcome.file);
}

int Import(const SessionsOptions& options) {
  auto file = ImportFile::Open(options.file);
  if (!file.ok()) return ReportUsage(file.status());
  Connection connection(options.connection);
  grpc::ClientContext& context = connection.NewContext();
  absl::Status read;
  const auto session =
      connection.client().ImportSession(context, CreateRequest(options), [&](std::string& piece) {
        read = file->Read(piece);
        if (!read.ok()) context.TryCancel();  // so that no half of a blob arrives as a whole one
        return read.ok() && !piece.empty();
      });
  return read.ok() ? Show(connection, session) : ReportUsage(read);
}

/// One of the subcommands with its own options: the environment variable of --server reaches those
/// of every subcommand, chosen or not.
class Action {
 public:
  Action(CLI::App& sessions, RunCommand& run, const char* name, const char* help,
         int (*action)(const SessionsOptions&))
      : options_(std::make_shared<SessionsOptions>()),
        command_(*sessions.add_subcommand(name, help)) {
    AddConnectionOptions(command_, options_->connection);
    command_.callback([options = options_, &run, action] {
      run = [options, action] { return action(*options); };
    });
  }

  Action& Id(bool required = true) {
    command_.add_option("id", options_->id, "The session's id")->required(required);
    return *this;
  }

  Action& File() {
    command_
        .add_option("file", options_->file,
                    "The file, a FIFO or a device; - is the standard stream")
        ->required();
    return *this;
  }

  Action& Keep() {
    AddNumber(command_, "--ttl", options_->ttl_seconds,
              "Expires after so long without use; 0: never")
        ->type_name("SECONDS");
    command_.add_flag("--pin", options_->pin, "Never expires");
    return *this;
  }

  SessionsOptions& options() { return *options_; }
  CLI::App& command() { return command_; }

 private:
  std::shared_ptr<SessionsOptions> options_;
  CLI::App& command_;
};

}  // namespace

void AddSessionsCommand(CLI::App& app, RunCommand& run) {
  CLI::App& sessions = *app.add_subcommand("sessions", "Conversations that the server keeps");
  sessions.require_subcommand(1);
  sessions.footer(kSessionsFooter);
  const auto add = [&](const char* name, const char* help, int (*action)(const SessionsOptions&)) {
    return Action(sessions, run, name, help, action);
  };

  add("create", "A new, empty session", Create).Id(/*required=*/false).Keep();
  add("list", "All sessions, in order of their ids", List);
  add("show", "All about one session", ShowOne).Id();
  Action update = add("update", "Changes how long it is kept", Update).Id().Keep();
  update.command().add_flag("--unpin", update.options().unpin, "Expires again")->excludes("--pin");
  Action fork = add("fork", "New sessions that hold the same", Fork).Id();
  AddNumber(fork.command(), "--children", fork.options().children, "How many (server: 1)");
  Action rewind = add("rewind", "Forgets the tokens past a point", Rewind).Id();
  AddNumber(rewind.command(), "tokens", rewind.options().tokens, "How many to keep")->required();
  add("delete", "Forgets a session", Delete).Id();
  Action exported = add("export", "Writes a session into a file", Export).Id().File();
  exported.command().add_flag("--head-only", exported.options().head_only,
                              "Without its rewind points: smaller");
  add("import", "Makes a session of an exported file", Import).File().Id(/*required=*/false).Keep();
}

}  // namespace fmaserver::client
