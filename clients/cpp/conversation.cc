#include "clients/cpp/conversation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"
#include "clients/cpp/blob_file.h"
#include "clients/cpp/generate_printer.h"
#include "clients/cpp/output.h"
#include "clients/cpp/session_export.h"
#include "command_line/output.h"

namespace fmaserver::client {

absl::StatusOr<Conversation> Conversation::Open(Connection& connection, const v1::Model& model,
                                                v1::GenerateRequest options) {
  Conversation talk(connection, model, std::move(options));
  const std::string id = talk.options_.session_id();
  absl::Status status = id.empty() ? talk.Create("") : talk.Attach(id);
  if (absl::IsNotFound(status)) status = talk.Create(id);
  if (!status.ok()) return status;
  talk.ours_ = id.empty();
  return talk;
}

absl::Status Conversation::Attach(const std::string& id) {
  auto request = connection_.NewRequest<v1::GetSessionRequest>();
  request.set_session_id(id);
  const auto session = connection_.client().GetSession(connection_.NewContext(), request);
  if (!session.ok()) return session.status();
  id_ = session->session_id();
  tokens_ = session->tokens();
  return absl::OkStatus();
}

absl::Status Conversation::Create(const std::string& id) {
  auto request = connection_.NewRequest<v1::CreateSessionRequest>();
  request.set_session_id(id);
  const auto session = connection_.client().CreateSession(connection_.NewContext(), request);
  if (!session.ok()) return session.status();
  id_ = session->session_id();
  tokens_ = 0;
  starts_.clear();
  was_cut_ = false;
  return absl::OkStatus();
}

absl::Status Conversation::Say(const std::string& text) {
  v1::ChatRequest request;
  const auto add = [&request](const char* role, const std::string& content) {
    v1::ChatMessage& message = *request.add_messages();
    message.set_role(role);
    message.set_content(content);
  };
  if (tokens_ == 0 && !instructions_.empty()) add("system", instructions_);
  add("user", text);
  const uint64_t start = tokens_;
  absl::Status status = Ask(std::move(request));
  if (status.ok()) starts_.push_back(start);
  return status;
}

absl::Status Conversation::GoOn() { return Ask({}); }

absl::Status Conversation::Ask(v1::ChatRequest request) {
  *request.mutable_options() = options_;
  request.mutable_options()->set_session_id(id_);
  GeneratePrinter printer(model_, /*json=*/false, /*samples=*/1);
  bool readers_left = true;
  bool answered = false;
  grpc::ClientContext& context = connection_.NewContext();
  absl::Status status =
      connection_.client().Chat(context, request, [&](const v1::GenerateResponse& response) {
        answered = answered || response.has_delta() || response.has_finished();
        if (response.has_finished()) {
          tokens_ = response.finished().session().tokens();
          was_cut_ = response.finished().reason() == v1::FINISH_REASON_LENGTH;
        }
        readers_left = readers_left && printer.Print(response);
        if (!readers_left) context.TryCancel();
      });
  if (answered) WriteOutput("\n");
  printer.PrintTables();
  return status;
}

absl::Status Conversation::Instruct(const std::string& instructions) {
  if (tokens_ > 0 && !instructions.empty()) {
    return Refusal("--system", instructions, "none for a session that holds a conversation");
  }
  instructions_ = instructions;
  return absl::OkStatus();
}

absl::Status Conversation::Restart(const std::string& instructions) {
  const std::string before = id_;
  const bool ours = std::exchange(ours_, true);
  if (absl::Status status = Create(""); !status.ok()) {
    ours_ = ours;
    return status;
  }
  instructions_ = instructions;
  if (!ours) return absl::OkStatus();
  auto request = connection_.NewRequest<v1::DeleteSessionRequest>();
  request.set_session_id(before);
  return connection_.client().DeleteSession(connection_.NewContext(), request);
}

absl::StatusOr<std::string> Conversation::Fork() {
  auto request = connection_.NewRequest<v1::ForkSessionRequest>();
  request.set_session_id(id_);
  const auto forked = connection_.client().ForkSession(connection_.NewContext(), request);
  if (!forked.ok()) return forked.status();
  ours_ = true;
  return std::exchange(id_, forked->children(0).session_id());
}

absl::Status Conversation::Rewind(size_t exchanges) {
  if (exchanges < 1 || exchanges > starts_.size()) {
    return Refusal(
        "number of exchanges to forget", exchanges,
        starts_.empty() ? "none: there are none yet" : FromTo<size_t>(1, starts_.size()));
  }
  auto request = connection_.NewRequest<v1::RewindSessionRequest>();
  request.set_session_id(id_);
  request.set_tokens(starts_[starts_.size() - exchanges]);
  const auto session = connection_.client().RewindSession(connection_.NewContext(), request);
  if (!session.ok()) return session.status();
  tokens_ = session->tokens();
  starts_.resize(starts_.size() - exchanges);
  was_cut_ = false;
  return absl::OkStatus();
}

absl::Status Conversation::Save(const std::string& file) {
  auto target = ExportFile::Create(file);
  if (!target.ok()) return target.status();
  auto request = connection_.NewRequest<v1::ExportSessionRequest>();
  request.set_session_id(id_);
  ExportOutcome outcome = ExportInto(*target, connection_, request);
  outcome.file.Update(outcome.call);
  return outcome.file;
}

std::string Conversation::Cost() const {
  return absl::StrCat(WithCommas(tokens_), " tokens; cache ", HumanBytes(model_.slot_bytes()),
                      ", a full KV cache would hold ",
                      HumanBytes(tokens_ * model_.full_cache_bytes_per_token()));
}

void Conversation::Close() {
  if (!ours_) return;
  auto request = connection_.NewRequest<v1::DeleteSessionRequest>();
  request.set_session_id(id_);
  // It expires by itself where it cannot be removed.
  connection_.client().DeleteSession(connection_.NewContext(), request).IgnoreError();
}

}  // namespace fmaserver::client
