#include "server/rpc/sessions_service.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/export_call.h"
#include "server/rpc/import_call.h"
#include "server/rpc/session_room.h"
#include "server/rpc/session_wire.h"
#include "server/rpc/unary.h"

namespace fmaserver::rpc {
namespace {

absl::StatusOr<v1::Session> ToWire(const absl::StatusOr<sessions::SessionInfo>& info) {
  if (!info.ok()) return info.status();
  return ToWire(*info);
}

absl::StatusOr<v1::Session> AnswerCreate(sessions::SessionStore& sessions, const Call& call,
                                         const v1::CreateSessionRequest& request) {
  if (absl::Status status = CheckRoom(sessions, call, 1); !status.ok()) return status;
  return ToWire(sessions.Create({call.tenant(), request.session_id()}, LifetimeOf(request)));
}

absl::StatusOr<v1::Session> AnswerGet(sessions::SessionStore& sessions, const Call& call,
                                      const v1::GetSessionRequest& request) {
  return ToWire(sessions.Get({call.tenant(), request.session_id()}));
}

absl::StatusOr<v1::ListSessionsResponse> AnswerList(sessions::SessionStore& sessions,
                                                    const Call& call,
                                                    const v1::ListSessionsRequest& request) {
  const absl::StatusOr<int64_t> size = PageSizeOf(request);
  if (!size.ok()) return size.status();
  absl::StatusOr<sessions::SessionPage> page =
      sessions.List(call.tenant(), request.page_token(), *size);
  if (!page.ok()) return page.status();
  v1::ListSessionsResponse response;
  for (const sessions::SessionInfo& info : page->sessions)
    *response.add_sessions() = rpc::ToWire(info);
  response.set_next_page_token(std::move(page->next));
  return response;
}

absl::StatusOr<v1::Session> AnswerUpdate(sessions::SessionStore& sessions, const Call& call,
                                         const v1::UpdateSessionRequest& request) {
  return ToWire(sessions.Update({call.tenant(), request.session_id()}, LifetimeOf(request)));
}

absl::StatusOr<v1::ForkSessionResponse> AnswerFork(sessions::SessionStore& sessions,
                                                   const Call& call,
                                                   const v1::ForkSessionRequest& request) {
  const int64_t count = request.has_children() ? request.children() : 1;
  if (absl::Status status = CheckRoom(sessions, call, count); !status.ok()) return status;
  const auto children = sessions.Fork({call.tenant(), request.session_id()}, count);
  if (!children.ok()) return children.status();
  v1::ForkSessionResponse response;
  for (const sessions::SessionInfo& info : *children) *response.add_children() = rpc::ToWire(info);
  return response;
}

absl::StatusOr<v1::Session> AnswerRewind(sessions::SessionStore& sessions, const Call& call,
                                         const v1::RewindSessionRequest& request) {
  return ToWire(sessions.Rewind({call.tenant(), request.session_id()}, TokensOf(request.tokens())));
}

absl::StatusOr<v1::DeleteSessionResponse> AnswerDelete(sessions::SessionStore& sessions,
                                                       const Call& call,
                                                       const v1::DeleteSessionRequest& request) {
  absl::Status status = sessions.Delete({call.tenant(), request.session_id()});
  if (!status.ok()) return status;
  return v1::DeleteSessionResponse();
}

}  // namespace

template <class Request, class Answer>
grpc::ServerUnaryReactor* SessionsService::Run(const char* method, Context* context,
                                               const Bytes* request, Bytes* response,
                                               Answer answer) {
  Unary* reactor = context->DefaultReactor();
  // gRPC keeps the bytes until the call is finished.
  services_.workers.Run([this, call = BeginCall(services_.policy, method, *context), reactor,
                         request, response, answer] {
    FinishUnary<Request>(*call, *reactor, *request, *response,
                         [this, answer](const Call& admitted, const Request& message) {
                           return answer(services_.sessions, admitted, message);
                         });
  });
  return reactor;
}

grpc::ServerUnaryReactor* SessionsService::Create(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::CreateSessionRequest>("Sessions.Create", context, request, response, AnswerCreate);
}

grpc::ServerUnaryReactor* SessionsService::Get(Context* context, const Bytes* request,
                                               Bytes* response) {
  return Run<v1::GetSessionRequest>("Sessions.Get", context, request, response, AnswerGet);
}

grpc::ServerUnaryReactor* SessionsService::List(Context* context, const Bytes* request,
                                                Bytes* response) {
  return Run<v1::ListSessionsRequest>("Sessions.List", context, request, response, AnswerList);
}

grpc::ServerUnaryReactor* SessionsService::Update(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::UpdateSessionRequest>("Sessions.Update", context, request, response, AnswerUpdate);
}

grpc::ServerUnaryReactor* SessionsService::Fork(Context* context, const Bytes* request,
                                                Bytes* response) {
  return Run<v1::ForkSessionRequest>("Sessions.Fork", context, request, response, AnswerFork);
}

grpc::ServerUnaryReactor* SessionsService::Rewind(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::RewindSessionRequest>("Sessions.Rewind", context, request, response, AnswerRewind);
}

grpc::ServerUnaryReactor* SessionsService::Delete(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return Run<v1::DeleteSessionRequest>("Sessions.Delete", context, request, response, AnswerDelete);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* SessionsService::Export(Context* context,
                                                                    const Bytes* request) {
  return ExportCall::Start(services_, BeginCall(services_.policy, "Sessions.Export", *context),
                           *request);
}

grpc::ServerReadReactor<grpc::ByteBuffer>* SessionsService::Import(Context* context,
                                                                   Bytes* response) {
  return ImportCall::Start(services_, BeginCall(services_.policy, "Sessions.Import", *context),
                           *response);
}

}  // namespace fmaserver::rpc
