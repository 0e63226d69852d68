// One request and its answer, between a connection and what answers it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/service/call.h"

namespace fmaserver::openai {

struct Request {
  std::string method;
  std::string path;  ///< without the query
  std::string body;
  service::CallMetadata metadata;
  std::shared_ptr<service::Call> call = {};  ///< admitted; null where everybody may ask
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Response {
  int status = 200;
  std::string body = {};
  Headers headers = {};  ///< beside those that every answer has
  std::string content_type = "application/json";
};

/// Where a request is answered: either all at once, or as a stream of events. Used on the loop's
/// thread alone. When the client has left, everything but OnGone does nothing.
class Responder {
 public:
  using Written = std::function<void(const absl::Status&)>;

  virtual ~Responder() = default;

  /// The whole answer, once, unless a stream has begun.
  virtual void Answer(Response response) = 0;

  /// Begins an answer of status 200 whose body is a stream of server-sent events.
  virtual void BeginStream(const Headers& headers) = 0;
  /// Sends bytes of the stream. `written` is always called: once they are with the kernel, or with
  /// why they never will be.
  virtual void Write(std::string bytes, Written written) = 0;
  virtual void EndStream() = 0;
  /// Whether everything that was written is with the kernel.
  virtual bool idle() const = 0;

  /// Calls `gone` when the client leaves before the end of the answer, or at once if it has left.
  virtual void OnGone(std::function<void()> gone) = 0;
};

/// Answers a request now or later. Called on the loop's thread, so it must return quickly.
using Handler = std::function<void(Request, std::shared_ptr<Responder>)>;

}  // namespace fmaserver::openai
