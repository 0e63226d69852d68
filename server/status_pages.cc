#include "server/status_pages.h"

#include <utility>

namespace fmaserver {

void StatusPages::Serve(std::function<bool()> overloaded) {
  overloaded_ = std::move(overloaded);
  phase_ = Phase::kServing;
}

http::HttpResponse StatusPages::Answer(const std::string& path) const {
  if (path == "/livez") return {.body = "alive\n"};
  if (path == "/readyz") return Readiness(/*with_room=*/true);
  if (path == "/health" || path == "/healthz") return Readiness(/*with_room=*/false);
  if (path == "/version") {
    return {.body = "{\"version\":\"" FMA_VERSION "\"}\n", .content_type = "application/json"};
  }
  if (path == "/metrics") {
    return {.body = exposition_.Render(), .content_type = metrics::Exposition::kContentType};
  }
  return http::ErrorResponse(404);
}

http::HttpResponse StatusPages::Readiness(bool with_room) const {
  switch (phase_.load()) {
    case Phase::kLoading:
      return {.status = 503, .body = loading_() + "\n"};
    case Phase::kDraining:
      return {.status = 410, .body = "draining\n"};
    case Phase::kServing:
      break;
  }
  if (with_room && overloaded_()) return {.status = 429, .body = "overloaded\n"};
  return {.body = "ready\n"};
}

}  // namespace fmaserver
