// One conversation that a session keeps, and a client that goes on after whatever happens to the
// servers, as docs/cluster.md says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/load/answers.h"
#include "bench/load/requests.h"
#include "bench/load/servers.h"
#include "bench/load/stream.h"

namespace fmaserver::bench {

struct ConversationPlan {
  int64_t turns = 1;
  double think_seconds = 0;      ///< on average before a turn, at random
  double call_seconds = 60;      ///< deadline of a call
  double patience_seconds = 60;  ///< without a token, until the conversation is given up
  uint64_t seed = 1;             ///< of the pauses
  std::string model;
};

/// What the client saw of one turn; times are those of NowSeconds().
struct TurnRecord {
  double begin = 0;
  std::vector<double> arrivals = {};  ///< when tokens came
  std::vector<double> news = {};      ///< when tokens came that had not come before
  double end = 0;                     ///< 0: it never ended
};

/// A call that was made again, or gone on with.
struct Repeat {
  double time = 0;
  bool by_token = false;  ///< by a resume token; else the session was taken back to before the turn
  absl::Status why;
};

struct Difference {
  double time = 0;
  std::string what;  ///< which turn, which token, and both tokens
};

struct ConversationRecord {
  int64_t number = 0;
  Answers answers;  ///< as far as they came
  std::vector<TurnRecord> turns;
  std::vector<Repeat> repeats;
  std::optional<Difference> difference;  ///< the first one
  absl::Status status;                   ///< why it was lost, unless OK
  double end = 0;
};

/// Used by one thread.
class Conversation {
 public:
  /// `expected`: the answers that it should have; null: unknown, but what comes again must be what
  /// came before. All must outlive the object.
  Conversation(const ConversationPlan& plan, int64_t number, const RequestSource& source,
               Servers servers, const Answers* expected, CallGroup& group, LiveCounts& live);

  /// All turns. The status is CANCELLED when `group` was cancelled.
  ConversationRecord Run();

 private:
  absl::Status Converse();
  absl::Status Turn(const v1::GenerateRequest& request);
  /// A turn from its start: reads the prompt, where another server does that, and generates, going
  /// on by resume tokens.
  absl::Status Attempt(v1::GenerateRequest request);
  absl::Status Generate(client::Client& client, const v1::GenerateRequest& request);
  void Receive(const v1::GenerateResponse& response);
  void Compare(uint32_t token);
  void Differ(std::string what);

  /// Makes a call until a server answers it. `done`: what the second call is refused with when the
  /// first one, whose answer was lost, had done it all.
  using UnaryCall = std::function<absl::Status(client::Client&, grpc::ClientContext&)>;
  absl::Status Again(const UnaryCall& call, absl::StatusCode done = absl::StatusCode::kOk);
  absl::Status Create();
  absl::Status Rewind();
  absl::Status Delete();
  client::Client& server() const { return servers_.Of(server_); }
  /// After a failure, which it notes: the next server, in a moment; or why there is no more use.
  absl::Status MoveOn(const absl::Status& failure, bool by_token = false);
  void Describe(grpc::ClientContext& context) const;

  const ConversationPlan& plan_;
  const RequestSource& source_;
  const Servers servers_;
  const Answers* const expected_;
  CallGroup& group_;
  LiveCounts& live_;
  const std::string session_;
  std::mt19937_64 random_;
  int64_t server_;            // the one that is asked
  double last_news_ = 0;      // when something came that had not come before
  uint64_t held_ = 0;         // tokens of the session before the turn
  uint64_t holds_ = 0;        // after the last call that ended well
  size_t came_ = 0;           // tokens of the answer in this attempt
  std::string resume_token_;  // of the last call
  ConversationRecord record_;
};

}  // namespace fmaserver::bench
