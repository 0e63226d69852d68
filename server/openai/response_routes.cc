#include "server/openai/response_routes.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/names.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/openai/errors.h"
#include "server/openai/read_job.h"
#include "server/openai/response_answer.h"
#include "server/openai/response_form.h"
#include "server/openai/response_request.h"
#include "server/service/session_calls.h"

namespace fmaserver::openai {
namespace {

constexpr std::string_view kResponsePath = "/v1/responses/";

/// What the body asks, of which model.
absl::StatusOr<GenerateJob> ReadResponseAsked(service::Service& service, const Request& request) {
  const auto addressed = ParseAddressed(service, request);
  if (!addressed.ok()) return addressed.status();
  const auto& [body, model] = *addressed;
  auto job = ReadResponse(body, service::VocabularyOf(*model));
  if (!job.ok()) {
    model->engine().CountRejection(engine::Rejection::kInvalid);
  } else if (job->model.empty()) {
    job->model = model->name();
  }
  return job;
}

/// The response `id` of the call's tenant as `model` keeps it; empty: it has none. Waits for the
/// disk.
absl::StatusOr<std::string> FindKept(const models::ServedModel& model, const service::Call& call,
                                     const std::string& id) {
  if (!id.starts_with("resp_") || !IsName(id)) return std::string();
  auto kept = service::SessionCalls(model.sessions(), call).Note(id);
  return absl::IsNotFound(kept.status()) ? std::string() : kept;
}

/// `job` with what is to be known of the response that it follows. Waits for the disk.
absl::StatusOr<GenerateJob> Follow(service::Service& service, service::Call& call,
                                   GenerateJob job) {
  const std::string& id = job.response.previous;
  const auto model = service.Find(job.model, call);
  if (!model.ok()) return model.status();
  const auto kept = FindKept(**model, call, id);
  if (!kept.ok()) return kept.status();
  if (kept->empty()) {
    (*model)->engine().CountRejection(engine::Rejection::kSession);
    return Refusal("previous_response_id", id, "the id of a response that this model keeps",
                   absl::StatusCode::kNotFound);
  }
  ApplyInstructions(InstructionsOf(*kept), job);
  return job;
}

/// On the loop's thread, like the next two.
void Start(Hall& hall, absl::StatusOr<GenerateJob> job, Request request,
           std::shared_ptr<Responder> responder) {
  if (job.ok()) {
    return ResponseAnswer::Start(hall, *std::move(job), std::move(request), std::move(responder));
  }
  Refuse(job.status(), *request.call, *responder);
}

void StartBehind(Hall& hall, GenerateJob job, const Request& request,
                 const std::shared_ptr<Responder>& responder) {
  const auto bytes = static_cast<int64_t>(service::BytesOf(*job.prompts.front().messages));
  const absl::Status status = hall.service.disk().Start(
      [&hall, job = std::move(job), request = request, responder = responder]() mutable {
        auto ready = Follow(hall.service, *request.call, std::move(job));
        hall.loop.Post([&hall, ready = std::move(ready), request = std::move(request),
                        responder = std::move(responder)]() mutable {
          Start(hall, std::move(ready), std::move(request), std::move(responder));
        });
      },
      service::Workers::kSmallBytes + bytes);
  if (!status.ok()) Start(hall, status, request, responder);
}

void AnswerResponse(Hall& hall, Request request, const std::shared_ptr<Responder>& responder) {
  const size_t bytes = request.body.size();
  const auto call = request.call;
  const absl::Status status = hall.service.Read(
      bytes, [&hall, request = std::move(request), responder = responder]() mutable {
        auto job = ReadResponseAsked(hall.service, request);
        request.body.clear();
        hall.loop.Post([&hall, job = std::move(job), request = std::move(request),
                        responder = std::move(responder)]() mutable {
          if (job.ok() && !job->response.previous.empty()) {
            return StartBehind(hall, *std::move(job), request, responder);
          }
          if (job.ok()) ApplyInstructions(std::nullopt, *job);
          Start(hall, std::move(job), std::move(request), std::move(responder));
        });
      });
  if (!status.ok()) Refuse(status, *call, *responder);
}

/// Does something with the model that keeps the response `id`, and what that keeps.
using KeptTask = absl::StatusOr<std::string> (*)(const models::ServedModel& model,
                                                 const service::Call& call, const std::string& id,
                                                 const std::string& kept);

absl::Status NoSuchPath(std::string_view path) {
  return absl::NotFoundError(
      Concat("there is no ", Quoted(path),
             " here: of an input the state behind it is kept alone, and a client that closes its "
             "connection cancels its response"));
}

absl::StatusOr<std::string> WithKept(service::Service& service, service::Call& call,
                                     const std::string& path, KeptTask task) {
  const std::string id = path.substr(kResponsePath.size());
  if (id.find('/') != std::string::npos) return NoSuchPath(path);
  for (const models::ModelPtr& model : service.models().List()) {
    auto kept = FindKept(*model, call, id);
    if (!kept.ok()) return kept.status();
    if (kept->empty()) continue;
    call.SetModel(model->name());
    return task(*model, call, id, *kept);
  }
  return Refusal("response", id, "the id of a response that is kept", absl::StatusCode::kNotFound);
}

absl::StatusOr<std::string> GetKept(const models::ServedModel& /*model*/,
                                    const service::Call& /*call*/, const std::string& /*id*/,
                                    const std::string& kept) {
  return kept;
}

absl::StatusOr<std::string> DeleteKept(const models::ServedModel& model, const service::Call& call,
                                       const std::string& id, const std::string& /*kept*/) {
  const absl::Status status = service::SessionCalls(model.sessions(), call).Delete(id);
  if (!status.ok()) return status;
  return TextOf(Json{{"id", id}, {"object", "response"}, {"deleted", true}});
}

/// Of what may wait for the disk.
Handler OnDisk(Hall& hall, KeptTask task) {
  return [&hall, task](const Request& request, const std::shared_ptr<Responder>& responder) {
    const auto call = request.call;
    const absl::Status status = hall.service.disk().Start(
        [&hall, task, call, path = request.path, responder = responder]() mutable {
          auto body = WithKept(hall.service, *call, path, task);
          call->SetStatus(body.status());
          hall.loop.Post([body = std::move(body), responder = std::move(responder)] {
            responder->Answer(body.ok() ? Response{.body = *body} : ErrorResponse(body.status()));
          });
        });
    if (!status.ok()) Refuse(status, *call, *responder);
  };
}

/// POST /v1/responses/ID/cancel, and what others have beside it.
void RefusePath(const Request& request, const std::shared_ptr<Responder>& responder) {
  Refuse(NoSuchPath(request.path), *request.call, *responder);
}

}  // namespace

void AddResponseRoutes(Hall& hall, Router& router) {
  router.Add({"POST", "/v1/responses", &service::kOpenAiResponse,
              [&hall](Request request, const std::shared_ptr<Responder>& responder) {
                AnswerResponse(hall, std::move(request), responder);
              }});
  router.Add({"GET", kResponsePath, &service::kOpenAiGetResponse, OnDisk(hall, GetKept)});
  router.Add({"DELETE", kResponsePath, &service::kOpenAiDeleteResponse, OnDisk(hall, DeleteKept)});
  router.Add({"POST", kResponsePath, &service::kOpenAiGetResponse, RefusePath});
}

}  // namespace fmaserver::openai
