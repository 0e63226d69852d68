// A chat with a model, which the server keeps as a session.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/connection.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver::client {

/// One thread. A call that fails or is interrupted leaves the conversation as it was.
class Conversation {
 public:
  /// Goes on with the session of options.session_id(), which is made if there is none; without an
  /// id a new one is made, and removed by Close(). `model` and `connection` outlive it.
  static absl::StatusOr<Conversation> Open(Connection& connection, const v1::Model& model,
                                           v1::GenerateRequest options);

  /// Sends what the user says, and prints the answer as it comes.
  absl::Status Say(const std::string& text);
  /// Goes on with an answer that was cut short.
  absl::Status GoOn();

  /// Instructions for the model, before anything is said.
  absl::Status Instruct(const std::string& instructions);

  /// A new conversation, for which the model gets these instructions; empty: its own.
  absl::Status Restart(const std::string& instructions);
  /// Goes on in a copy. Returns the id under which what was said so far stays.
  absl::StatusOr<std::string> Fork();
  /// Forgets the last `exchanges`, of those that it has seen.
  absl::Status Rewind(size_t exchanges);
  /// Writes the session to a file, for `fma sessions import`.
  absl::Status Save(const std::string& file);

  /// "312 tokens; cache 2.1 MiB, a full KV cache would hold 1.8 MiB".
  std::string Cost() const;

  const std::string& id() const { return id_; }
  size_t exchanges() const { return starts_.size(); }
  /// Whether the last answer reached --max-tokens.
  bool was_cut() const { return was_cut_; }

  /// Removes a session that nobody named.
  void Close();

 private:
  Conversation(Connection& connection, const v1::Model& model, v1::GenerateRequest options)
      : connection_(connection), model_(model), options_(std::move(options)) {}

  absl::Status Attach(const std::string& id);
  absl::Status Create(const std::string& id);
  absl::Status Ask(v1::ChatRequest request);

  Connection& connection_;
  const v1::Model& model_;
  v1::GenerateRequest options_;
  std::string id_;
  bool ours_ = false;         // nobody named the session, so it goes with this program
  std::string instructions_;  // to be sent with the first message
  uint64_t tokens_ = 0;
  std::vector<uint64_t> starts_;  // how many tokens there were before each exchange
  bool was_cut_ = false;
};

}  // namespace fmaserver::client
