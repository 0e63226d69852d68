#include "server/rpc/sessions_service.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/import_reactor.h"
#include "server/rpc/session_wire.h"
#include "server/rpc/stream_reactor.h"
#include "server/rpc/unary.h"
#include "server/service/session_calls.h"
#include "server/service/transfer.h"

namespace fmaserver::rpc {
namespace {

using service::SessionCalls;
using ExportReactor = StreamReactor<std::string, service::Exporting>;

absl::StatusOr<v1::Session> AnswerCreate(SessionCalls sessions,
                                         const v1::CreateSessionRequest& request) {
  return ToWire(sessions.Create(request.session_id(), LifetimeOf(request)));
}

absl::StatusOr<v1::Session> AnswerGet(SessionCalls sessions, const v1::GetSessionRequest& request) {
  return ToWire(sessions.Get(request.session_id()));
}

absl::StatusOr<v1::ListSessionsResponse> AnswerList(SessionCalls sessions,
                                                    const v1::ListSessionsRequest& request) {
  return ToWire(sessions.List(request.page_token(), PageSizeOf(request)));
}

absl::StatusOr<v1::Session> AnswerUpdate(SessionCalls sessions,
                                         const v1::UpdateSessionRequest& request) {
  return ToWire(sessions.Update(request.session_id(), LifetimeOf(request)));
}

absl::StatusOr<v1::ForkSessionResponse> AnswerFork(SessionCalls sessions,
                                                   const v1::ForkSessionRequest& request) {
  return ToWire(
      sessions.Fork(request.session_id(), request.has_children() ? request.children() : 1));
}

absl::StatusOr<v1::Session> AnswerRewind(SessionCalls sessions,
                                         const v1::RewindSessionRequest& request) {
  return ToWire(sessions.Rewind(request.session_id(), TokensOf(request.tokens())));
}

absl::StatusOr<v1::DeleteSessionResponse> AnswerDelete(SessionCalls sessions,
                                                       const v1::DeleteSessionRequest& request) {
  absl::Status status = sessions.Delete(request.session_id());
  if (!status.ok()) return status;
  return v1::DeleteSessionResponse();
}

/// Answers on a thread for the disk.
template <class Request, class Answer>
grpc::ServerUnaryReactor* Run(service::Service& service, const service::CallKind& kind,
                              const UnaryCall& unary, const Answer& answer) {
  return AnswerUnary<Request>(
      service, kind, unary, [&service](auto task) { return service.disk().Start(std::move(task)); },
      [&service, answer](service::Call& call, const Request& request) {
        const auto model = service.Find(request.model(), call);
        using Answered = decltype(answer(SessionCalls((*model)->sessions(), call), request));
        if (!model.ok()) return Answered(model.status());
        return answer(SessionCalls((*model)->sessions(), call), request);
      });
}

}  // namespace

grpc::ServerUnaryReactor* SessionsService::Create(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::CreateSessionRequest>(service_, service::kCreateSession,
                                       {*context, *request, *response}, AnswerCreate);
}

grpc::ServerUnaryReactor* SessionsService::Get(Context* context, const Bytes* request,
                                               Bytes* response) {
  return Run<v1::GetSessionRequest>(service_, service::kGetSession, {*context, *request, *response},
                                    AnswerGet);
}

grpc::ServerUnaryReactor* SessionsService::List(Context* context, const Bytes* request,
                                                Bytes* response) {
  return Run<v1::ListSessionsRequest>(service_, service::kListSessions,
                                      {*context, *request, *response}, AnswerList);
}

grpc::ServerUnaryReactor* SessionsService::Update(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::UpdateSessionRequest>(service_, service::kUpdateSession,
                                       {*context, *request, *response}, AnswerUpdate);
}

grpc::ServerUnaryReactor* SessionsService::Fork(Context* context, const Bytes* request,
                                                Bytes* response) {
  return Run<v1::ForkSessionRequest>(service_, service::kForkSession,
                                     {*context, *request, *response}, AnswerFork);
}

grpc::ServerUnaryReactor* SessionsService::Rewind(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::RewindSessionRequest>(service_, service::kRewindSession,
                                       {*context, *request, *response}, AnswerRewind);
}

grpc::ServerUnaryReactor* SessionsService::Delete(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::DeleteSessionRequest>(service_, service::kDeleteSession,
                                       {*context, *request, *response}, AnswerDelete);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* SessionsService::Export(Context* context,
                                                                    const Bytes* request) {
  return ExportReactor::Open(
      *context,
      [](const std::string& piece) {
        v1::ExportSessionResponse response;
        response.set_data(piece);
        return SerializeMessage(response);
      },
      [&](auto wire) {
        return service::Exporting::Start(
            service_, BeginCall(service_, service::kExportSession, *context), std::move(wire),
            [bytes = *request, max = service_.policy().limits.request_bytes]()
                -> absl::StatusOr<service::Exporting::Request> {
              v1::ExportSessionRequest message;
              if (absl::Status status = ParseMessage(bytes, max, message); !status.ok())
                return status;
              return service::Exporting::Request{.model = message.model(),
                                                 .session_id = message.session_id(),
                                                 .head_only = message.head_only()};
            });
      });
}

grpc::ServerReadReactor<grpc::ByteBuffer>* SessionsService::Import(Context* context,
                                                                   Bytes* response) {
  return ImportReactor::Open(service_, *context, *response);
}

}  // namespace fmaserver::rpc
