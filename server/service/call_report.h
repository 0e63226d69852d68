// The report of a call after its end, for the log and for metrics.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/engine/request.h"
#include "server/service/call_metadata.h"
#include "server/service/call_trace.h"

namespace fmaserver::service {

struct CallReport {
  std::string request_id;   ///< the client's or a random one
  std::string tenant;       ///< empty: not authenticated
  std::string method;       ///< "Generate", "Sessions.Fork"
  std::string model;        ///< the model that it means; empty: of none, or refused before
  std::string traceparent;  ///< W3C Trace Context as it came; empty: none, or not valid
  std::string peer;         ///< the client's address
  absl::Status status;
  engine::Usage usage;               ///< tokens and times so far, also of a call that failed
  double seconds = 0;                ///< from the call's arrival to its end
  std::string prompt;                ///< text of the prompt; only when asked for
  std::shared_ptr<CallTrace> trace;  ///< null: the call is not traced
};

class CallObserver {
 public:
  virtual ~CallObserver() = default;
  /// A call begins. What its trace is to be; null: it is not traced. Any thread; must not block.
  virtual std::shared_ptr<CallTrace> Trace(const CallMetadata& /*checked*/) { return nullptr; }
  /// A call is over. Any thread; must not block.
  virtual void OnCall(const CallReport& /*report*/) {}
};

}  // namespace fmaserver::service
