#include "server/openai/completion_routes.h"

#include <memory>
#include <utility>

#include "server/openai/errors.h"
#include "server/openai/generation_answer.h"
#include "server/openai/read_job.h"

namespace fmaserver::openai {
namespace {

struct Asked {
  GenerateJob job;
  int32_t at_once = 1;  // prompts
};

/// What the body asks, and of which model. On any thread.
absl::StatusOr<Asked> ReadAsked(service::Service& service, const Request& request, bool chat) {
  const auto addressed = ParseAddressed(service, request);
  if (!addressed.ok()) return addressed.status();
  const auto& [body, model] = *addressed;
  auto job = ReadJob(body, chat, service::VocabularyOf(*model));
  if (!job.ok()) {
    model->engine().CountRejection(engine::Rejection::kInvalid);
    return job.status();
  }
  if (job->model.empty()) job->model = model->name();
  return Asked{*std::move(job), model->engine().options().num_slots};
}

void Answer(Hall& hall, bool chat, Request request, std::shared_ptr<Responder> responder) {
  const size_t bytes = request.body.size();
  const auto call = request.call;
  const absl::Status status =
      hall.service.Read(bytes, [&hall, chat, request = std::move(request), responder]() mutable {
        auto asked = ReadAsked(hall.service, request, chat);
        request.body.clear();
        hall.loop.Post([&hall, asked = std::move(asked), request = std::move(request),
                        responder = std::move(responder)]() mutable {
          if (!asked.ok()) return Refuse(asked.status(), *request.call, *responder);
          GenerationAnswer::Start(hall, std::move(asked->job), asked->at_once, std::move(request),
                                  std::move(responder));
        });
      });
  if (!status.ok()) Refuse(status, *call, *responder);
}

}  // namespace

void AddCompletionRoutes(Hall& hall, Router& router) {
  const auto add = [&](std::string_view path, const service::CallKind& kind, bool chat) {
    router.Add(
        {"POST", path, &kind, [&hall, chat](Request request, std::shared_ptr<Responder> responder) {
           Answer(hall, chat, std::move(request), std::move(responder));
         }});
  };
  add("/v1/completions", service::kOpenAiCompletion, /*chat=*/false);
  add("/v1/chat/completions", service::kOpenAiChat, /*chat=*/true);
}

}  // namespace fmaserver::openai
