#include "server/openai/embedding_routes.h"

#include <memory>
#include <utility>

#include "server/openai/embedding_answer.h"
#include "server/openai/errors.h"
#include "server/openai/read_job.h"

namespace fmaserver::openai {
namespace {

/// What the body asks, and of which model. On any thread.
absl::StatusOr<EmbeddingJob> ReadAsked(service::Service& service, const Request& request) {
  const auto addressed = ParseAddressed(service, request);
  if (!addressed.ok()) return addressed.status();
  const auto& [body, model] = *addressed;
  auto job = ReadEmbeddingJob(body, *model);
  if (!job.ok()) model->runner().CountRejection(engine::Rejection::kInvalid);
  return job;
}

void AnswerEmbedding(Hall& hall, Request request, std::shared_ptr<Responder> responder) {
  const size_t bytes = request.body.size();
  const auto call = request.call;
  const absl::Status status =
      hall.service.Read(bytes, [&hall, request = std::move(request), responder]() mutable {
        auto job = ReadAsked(hall.service, request);
        request.body.clear();
        hall.loop.Post([&hall, job = std::move(job), request = std::move(request),
                        responder = std::move(responder)]() mutable {
          if (!job.ok()) return Refuse(job.status(), *request.call, *responder);
          EmbeddingAnswer::Start(hall, *std::move(job), std::move(request), std::move(responder));
        });
      });
  if (!status.ok()) Refuse(status, *call, *responder);
}

}  // namespace

void AddEmbeddingRoutes(Hall& hall, Router& router) {
  router.Add({"POST", "/v1/embeddings", &service::kOpenAiEmbedding,
              [&hall](Request request, std::shared_ptr<Responder> responder) {
                AnswerEmbedding(hall, std::move(request), std::move(responder));
              }});
}

}  // namespace fmaserver::openai
