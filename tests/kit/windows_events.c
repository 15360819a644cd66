/* Notifications of Windows that Wine never makes: registered as with the system, called from a native thread. */
#include <windows.h>

#define EXPORT __declspec(dllexport)

typedef void(WINAPI *change_callback)(void *context, void *row, int kind);
typedef ULONG(WINAPI *power_callback)(void *context, ULONG type, void *setting);

struct subscription { /* DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS */
    power_callback callback;
    void *context;
};

struct call {
    int number, kind, times;
    char row[1352];
    BOOL has_row;
};

static change_callback changes[3];
static void *contexts[3];
static struct subscription power;

static DWORD WINAPI run_change(void *argument)
{
    struct call *call = argument;
    for (int time = 0; time < call->times; time++) {
        change_callback callback = changes[call->number];
        if (callback)
            callback(contexts[call->number], call->has_row ? call->row : NULL, call->kind);
    }
    HeapFree(GetProcessHeap(), 0, call);
    return 0;
}

/* Call one of the three callbacks so many times from a new thread; returns its handle. */
EXPORT HANDLE fire_change(int number, const void *row, int size, int kind, int times)
{
    struct call *call = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof *call);
    call->number = number, call->kind = kind, call->times = times, call->has_row = size > 0;
    if (size > 0 && size <= (int)sizeof call->row)
        memcpy(call->row, row, size);
    return CreateThread(NULL, 0, run_change, call, 0, NULL);
}

static DWORD WINAPI run_power(void *argument)
{
    return power.callback ? power.callback(power.context, (ULONG)(ULONG_PTR)argument, NULL) : 87;
}

/* Call the power callback from a new thread; returns its handle. */
EXPORT HANDLE fire_power(ULONG type)
{
    return CreateThread(NULL, 0, run_power, (void *)(ULONG_PTR)type, 0, NULL);
}

/* Whether a thread has ended within so many milliseconds; its handle is closed then. */
EXPORT int ended(HANDLE thread, DWORD milliseconds)
{
    if (WaitForSingleObject(thread, milliseconds) != WAIT_OBJECT_0)
        return 0;
    CloseHandle(thread);
    return 1;
}

/* How many are registered. */
EXPORT int registered(void)
{
    return !!changes[0] + !!changes[1] + !!changes[2] + !!power.callback;
}

static DWORD register_change(int number, change_callback callback, void *context, BOOLEAN initial, HANDLE *handle)
{
    changes[number] = callback, contexts[number] = context;
    *handle = (HANDLE)(ULONG_PTR)(number + 1);
    if (initial)
        ended(fire_change(number, NULL, 0, 3, 1), INFINITE);
    return 0;
}

EXPORT DWORD WINAPI NotifyIpInterfaceChange(USHORT family, change_callback callback, void *context, BOOLEAN initial,
                                            HANDLE *handle)
{
    return family ? 87 : register_change(0, callback, context, initial, handle);
}

EXPORT DWORD WINAPI NotifyUnicastIpAddressChange(USHORT family, change_callback callback, void *context,
                                                 BOOLEAN initial, HANDLE *handle)
{
    return family ? 87 : register_change(1, callback, context, initial, handle);
}

EXPORT DWORD WINAPI NotifyRouteChange2(USHORT family, change_callback callback, void *context, BOOLEAN initial,
                                       HANDLE *handle)
{
    return family ? 87 : register_change(2, callback, context, initial, handle);
}

EXPORT DWORD WINAPI CancelMibChangeNotify2(HANDLE handle)
{
    changes[(ULONG_PTR)handle - 1] = NULL;
    return 0;
}

EXPORT DWORD WINAPI PowerRegisterSuspendResumeNotification(DWORD flags, struct subscription *wanted, HANDLE *handle)
{
    if (flags != 2)
        return 87;
    power = *wanted;
    *handle = (HANDLE)0x1234567890ab;
    return 0;
}

EXPORT DWORD WINAPI PowerUnregisterSuspendResumeNotification(HANDLE handle)
{
    if (handle != (HANDLE)0x1234567890ab)
        return 87;
    power.callback = NULL;
    return 0;
}
