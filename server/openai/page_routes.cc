#include "server/openai/page_routes.h"

#include <memory>
#include <string>

#include "server/openai/page/page.h"

namespace fmaserver::openai {

void AddPageRoute(Router& router) {
  const Response response{
      .body = std::string(page::Page()),
      .headers = {{"Content-Security-Policy", page::ContentSecurityPolicy(page::Page())},
                  {"X-Content-Type-Options", "nosniff"},
                  {"Referrer-Policy", "no-referrer"},
                  {"Cache-Control", "no-cache"}},
      .content_type = "text/html; charset=utf-8"};
  router.Add({"GET", "/", nullptr,
              [response](const Request&, const std::shared_ptr<Responder>& responder) {
                responder->Answer(response);
              }});
}

}  // namespace fmaserver::openai
