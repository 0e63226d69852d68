#include "server/openai/status_routes.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "server/openai/choice_json.h"
#include "server/openai/errors.h"
#include "server/openai/model_shape.h"

namespace fmaserver::openai {
namespace {

constexpr std::string_view kModels = "/v1/models";

/// One name of a model; an alias has the model's own name as its root.
Json Describe(const models::ServedModel& model, const std::string& name, int64_t created) {
  Json json;
  json["id"] = name;
  json["object"] = "model";
  json["created"] = created;
  json["owned_by"] = "fma-server";
  json["root"] = model.name();
  json["parent"] = nullptr;
  json["max_model_len"] = MaxLengthOf(model);
  json["fma"] = ShapeOf(model);
  return json;
}

Response List(service::Service& service, int64_t created) {
  Json data = Json::array();
  for (const models::ModelPtr& model : service.models().List()) {
    data.push_back(Describe(*model, model->name(), created));
    for (const std::string& alias : model->aliases()) {
      data.push_back(Describe(*model, alias, created));
    }
  }
  Json json;
  json["object"] = "list";
  json["data"] = std::move(data);
  return {.body = TextOf(json)};
}

Response Get(service::Service& service, const Request& request, int64_t created) {
  const std::string name = request.path.substr(kModels.size() + 1);
  const auto model = service.Find(name, *request.call);
  request.call->SetStatus(model.status());
  if (!model.ok()) return ErrorResponse(model.status());
  return {.body = TextOf(Describe(**model, name, created))};
}

/// Of what a call without a body asks for.
Handler Ask(std::function<Response(const Request&)> answer) {
  return [answer = std::move(answer)](const Request& request,
                                      const std::shared_ptr<Responder>& responder) {
    if (request.call != nullptr) request.call->SetStatus(absl::OkStatus());
    responder->Answer(answer(request));
  };
}

}  // namespace

void AddStatusRoutes(Hall& hall, Router& router) {
  const int64_t created = absl::ToUnixSeconds(absl::Now());
  router.Add({"GET", "/health", nullptr, Ask([&hall](const Request&) {
                if (!hall.draining) return Response{.body = "{}"};
                return ErrorResponse(503, "the server shuts down");
              })});
  router.Add({"GET", "/version", nullptr, Ask([](const Request&) {
                return Response{.body = "{\"version\":\"" FMA_VERSION "\"}"};
              })});
  router.Add({"GET", kModels, &service::kOpenAiModels,
              Ask([&hall, created](const Request&) { return List(hall.service, created); })});
  router.Add(
      {"GET", "/v1/models/", &service::kOpenAiModels, Ask([&hall, created](const Request& request) {
         return Get(hall.service, request, created);
       })});
}

}  // namespace fmaserver::openai
